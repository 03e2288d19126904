"""The worker's heartbeat, and the hand that keeps the locks of its jobs: a thread of its own.

Not on the event loop: a handler that blocks it for half a minute would lose every job of the process, and be told
dead. The thread needs the interpreter for a moment every 2 s; only code that keeps Python's global lock for longer
than 7 s (an extension that computes and does not release it) still silences it, and belongs into a process of its own.

A lock that ran out while everything stood still, the machine suspended or Redis hung, is taken again as long as nobody
else has the job: it is still active, and no attempt has begun after ours.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Protocol

from redis.exceptions import RedisError

from jobcast.shared import logs
from jobcast.shared.heartbeats import BEAT, LIFE_MS
from jobcast.shared.keys import Keys
from jobcast.shared.redis import connect_thread
from jobcast.worker.taken import TakenJob

SOON: Final = 0.5
"""Seconds until the next try when Redis did not take a heartbeat."""
CHUNK: Final = 500
"""Locks of one script: about 2 ms of Redis' time."""
DOUBTS: Final = 3
"""Heartbeats after a gap at which to ask whether we were told dead: whoever tells may be at it just then."""
LAST_WORD: Final = 4.0
"""Seconds the thread has to say goodbye: more than one answer of Redis can take."""

# PEXPIRE and not SET: a Redis that is full takes it. What a job was last heard of is told by its record, which may be
# refused without harm.
_RENEW: Final = """
local time = redis.call('TIME')
local now = string.format('%d', time[1] * 1000 + math.floor(time[2] / 1000))
local lost = {}
for i = 3, #ARGV, 4 do
  local id, token, attempt, state = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local lock = ARGV[1] .. id .. ':lock'
  local holder = redis.call('GET', lock)
  local free = not holder and redis.call('HGET', ARGV[1] .. id, 'ats') == attempt and redis.call('LPOS', KEYS[2], id)
  if free then redis.call('SET', lock, token, 'PX', ARGV[2]) end
  if free or holder == token then
    redis.call('PEXPIRE', lock, ARGV[2])
    redis.call('SREM', KEYS[1], id)
    local at = redis.pcall('HMGET', state, 'state', 'attempt')
    if at[1] == 'active' and at[2] == attempt then redis.pcall('HSET', state, 'at', now) end
  else
    lost[#lost + 1] = id
  end
end
return lost
"""
"""KEYS 1 BullMQ's stalled set, 2 its active list. ARGV 1 its key of the queue, 2 lock (ms), then id, token, attempt and
the key of the journal's state for each job. Answers the jobs that are not ours any more."""

_log = logs.get("heartbeat")


class Holder(Protocol):
    """Who has jobs of a queue in hand; ``base`` begins BullMQ's keys of it, ``lock`` is in ms."""

    @property
    def queue(self) -> str: ...
    @property
    def base(self) -> str: ...
    @property
    def lock(self) -> int: ...
    def held(self) -> list[TakenJob]: ...


class Heart:
    """Beats every ``every`` seconds within its ``with`` block; leaving it with no job in hand takes the heartbeat away.

    ``began``: the first heartbeat is in Redis. Before that no job may be taken: nobody would learn of its worker's
    death.
    """

    def __init__(self, url: str, keys: Keys, worker: str, holders: Sequence[Holder], *, every: float) -> None:
        self.began = asyncio.Event()
        self._client = connect_thread(url, name="jobcast-heartbeat")
        self._keys = keys
        self._worker = worker
        self._holders = holders
        self._every = every
        self._loop = asyncio.get_running_loop()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._count = 0
        self._last: bytes | None = None
        self._doubts = 0

    def __enter__(self) -> "Heart":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(LAST_WORD)

    @property
    def in_doubt(self) -> bool:
        """We were not heard of for a while, and may have been told dead."""
        return self._doubts > 0

    def _run(self) -> None:
        away = False
        while not self._over.is_set():
            try:
                self._beat()
            except (RedisError, OSError) as error:
                if not away:
                    _log.warning("Redis takes no heartbeat; trying again", error=str(error))
                away = True
            except Exception as error:  # noqa: BLE001  a thread that dies takes every lock with it, unheard
                _log.exception("the heartbeat failed; trying again", error=repr(error))
                away = True
            else:
                away = False
            self._over.wait(min(self._every, SOON) if away else self._every)
        if not any(holder.held() for holder in self._holders):
            with contextlib.suppress(RedisError, OSError):
                self._client.hdel(self._keys.workers(), self._worker)
        self._client.close()

    def _beat(self) -> None:
        """One write for the process and all its jobs."""
        self._count += 1
        pipe = self._client.pipeline(transaction=False)
        queues = ",".join(holder.queue for holder in self._holders)
        pipe.eval(BEAT, 1, self._keys.workers(), self._worker, self._count, queues, LIFE_MS)
        asked = list(self._locks())
        for holder, jobs in asked:
            words = [word for job in jobs for word in (job.id, job.token, job.attempt, self._keys.state(job.id))]
            pipe.eval(_RENEW, 2, f"{holder.base}stalled", f"{holder.base}active", holder.base, holder.lock, *words)
        beat, *renewed = pipe.execute(raise_on_error=False)
        for (_, jobs), lost in zip(asked, renewed, strict=True):
            if isinstance(lost, Exception):
                _log.error("locks could not be renewed", jobs=len(jobs), error=str(lost))
            elif lost:
                gone = {each.decode() for each in lost}
                self._on_loop(_lose, [job for job in jobs if job.id in gone])
        if isinstance(beat, Exception):
            raise beat
        self._heard(*beat)

    def _locks(self) -> Iterator[tuple[Holder, list[TakenJob]]]:
        for holder in self._holders:
            jobs = holder.held()
            for start in range(0, len(jobs), CHUNK):
                yield holder, jobs[start : start + CHUNK]

    def _heard(self, at: int, last: bytes) -> None:
        before = int(last.split(b":")[1]) if last else 0
        if self._last is None:
            self._on_loop(self.began.set)
        elif at - before > 1000 * (1.5 * self._every + SOON):
            self._doubts = DOUBTS + 1
        self._last = last
        self._doubts = max(0, self._doubts - 1)

    def _on_loop(self, call: Callable[..., None], *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the worker ended
            self._loop.call_soon_threadsafe(call, *args)


def _lose(jobs: list[TakenJob]) -> None:
    for job in jobs:
        job.lose()
