"""A job this worker has taken: what BullMQ says of it, and the moves that end its attempt, each checked by its lock."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from jobcast.shared.clock import now_ms
from jobcast.shared.options import Backoff
from jobcast.shared.redis import unavailable
from jobcast.worker.backoff import Kind, custom_delay, retry_delay
from jobcast.worker.errors import LockLost
from jobcast.worker.kept import is_kept
from jobcast.worker.queues import QueueDefinition
from jobcast.worker.values import cut

MOST_TRACES: Final = 5
LONGEST_TRACE: Final = 8 * 1024


@dataclass(slots=True, eq=False)
class TakenJob:
    """One attempt of one job; times in Unix ms. ``attempt`` counts all starts, ``attempts_made`` the failures so far.

    ``lock``: for how many ms its lock is taken. ``on_next`` is called with it, and the record and the id of the job
    that takes its place, under the same token, where its completion was asked to bring one (``wants_next``).
    ``verdict``: the kind of failure its attempt ended with, and the error; two empty texts for a success, None while it
    says nothing.

    Every move raises ``LockLost`` when the job is no longer ours and ``Unavailable`` when Redis is away; it may then
    be made again.
    """

    raw: Any
    backend: Any
    definition: QueueDefinition
    token: str
    on_lost: Callable[[], None] | None = None
    moving: bool = False
    lock: int = 30_000
    wants_next: Callable[[], bool] = lambda: False
    on_next: Callable[["TakenJob", dict[str, str], str], None] | None = None
    verdict: tuple[str, str] | None = None
    opts: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.opts = self.raw.opts if isinstance(self.raw.opts, dict) else {}

    @property
    def id(self) -> str:
        return str(self.raw.id)

    @property
    def queue(self) -> str:
        return self.definition.name

    @property
    def name(self) -> str:
        return str(self.raw.name)

    @property
    def data(self) -> Any:
        return self.raw.data

    @property
    def attempt(self) -> int:
        return max(1, int(self.raw.attemptsStarted))

    @property
    def attempts_made(self) -> int:
        return int(self.raw.attemptsMade)

    @property
    def max_attempts(self) -> int:
        return max(1, _whole(self.opts.get("attempts")) or self.definition.attempts)

    @property
    def may_retry(self) -> bool:
        """Whether another attempt follows if this one fails."""
        return self.attempts_made + 1 < self.max_attempts

    @property
    def postponed(self) -> int:
        """How many of its starts before this one used up no attempt."""
        return max(0, self.attempt - 1 - self.attempts_made)

    @property
    def queued_at(self) -> int:
        return int(self.raw.timestamp)

    @property
    def started_at(self) -> int:
        return int(self.raw.processedOn or now_ms())

    @property
    def began_at(self) -> int:
        """When its last attempt began; 0 when none ever did."""
        return int(self.raw.processedOn or 0)

    @property
    def delay(self) -> int:
        """As it was queued with, ms."""
        return _whole(self.opts.get("delay"))

    @property
    def priority(self) -> int:
        return _whole(self.opts.get("priority"))

    @property
    def parent_id(self) -> str | None:
        parent = self.raw.parent
        return str(parent["id"]) if isinstance(parent, dict) and parent.get("id") else None

    @property
    def parent_queue(self) -> str | None:
        parent = self.raw.parent
        key = parent.get("queueKey") if isinstance(parent, dict) else None
        return str(key).rpartition(":")[2] if key else None

    @property
    def deferred_failure(self) -> str | None:
        """Why BullMQ wants this job to fail without being run: it stalled too often, or a child failed."""
        return str(self.raw.deferredFailure) if self.raw.deferredFailure else None

    def retry_delay(self, chance: float, error: BaseException | None = None, *, made: int | None = None) -> int:
        """Milliseconds to wait if this attempt fails; a strategy that is not ours waits its plain delay.

        ``made``: as if so many attempts had been made, this one counted.
        """
        made = self.attempts_made + 1 if made is None else made
        said, default = self.opts.get("backoff"), self.definition.backoff
        ours = isinstance(said, dict) and said.get("type") in {"fixed", "exponential"}
        if callable(default) and not ours:
            return custom_delay(default, made, error)
        if isinstance(said, dict):
            kind: Kind = "exponential" if said.get("type") == "exponential" else "fixed"
            jitter = said.get("jitter")
            share = min(max(float(jitter), 0.0), 1.0) if isinstance(jitter, int | float) else 0.0
            return retry_delay(kind, _whole(said.get("delay")), made, jitter=share, chance=chance)
        if not isinstance(default, Backoff):
            return 0
        return retry_delay(default.type, default.delay, made, jitter=default.jitter, chance=chance)

    def lose(self) -> None:
        """Tell whoever runs it that the lock is gone; a move under way finds out by itself."""
        if not self.moving and self.on_lost is not None:
            self.on_lost()

    async def hold(self) -> None:
        """Make sure that the job is ours, and for as long as a lock lives."""
        with unavailable():
            held = await self.backend.extendLock(self.id, self.token, self.lock) or await self._take_again()
            if not held:
                raise LockLost(f"the lock of job {self.id} is no longer ours")

    async def complete(self, result: Any) -> None:
        """Into the completed set; ``result`` must be plain JSON values. The next job comes with the answer."""
        keep, brings = self.keep(completed=True), self.on_next is not None and self.wants_next()
        answer = await self._move(
            lambda: self.backend.moveToCompleted(self.raw, result, keep, self.token, brings), {"completed"}, keep
        )
        if self.on_next is None:
            return
        if answer is None:
            data, job_id = await self._brought()
        else:
            data, job_id, *_ = answer["result"] or (None, "")
        if data:
            self.on_next(self, data, job_id)

    async def _brought(self) -> tuple[dict[str, str] | None, str]:
        """The job that came with an answer that was lost: locked in our name, it would stall until that is over."""
        backend = self.backend
        with unavailable():
            active = [each for each in await backend.conn.lrange(backend.keys["active"], 0, -1) if each != self.id]
            locks = await backend.conn.mget([f"{backend.toKey(each)}:lock" for each in active]) if active else []
            for job_id, lock in zip(active, locks, strict=True):
                if lock == self.token:
                    return await backend.getJobData(job_id), job_id
        return None, ""

    async def fail(self, error: str, trace: str) -> None:
        """Into the failed set: no further attempt."""
        keep = self.keep(completed=False)
        fields = self._fields(error, trace)
        await self._move(
            lambda: self.backend.moveToFailed(self.raw, error, keep, self.token, False, fields), {"failed"}, keep
        )

    async def retry(self, delay: int, error: str, trace: str) -> None:
        """Back into the queue after ``delay`` ms; one attempt is used up."""
        options = {"fieldsToUpdate": self._fields(error, trace)}
        if delay > 0:
            now = now_ms()
            await self._move(
                lambda: self.backend.moveToDelayed(self.id, now, delay, self.token, options), _QUEUED, None
            )
        else:
            lifo = bool(self.opts.get("lifo"))
            await self._move(lambda: self.backend.retryJob(self.id, lifo, self.token, options), _QUEUED, None)

    async def postpone(self, delay: int, error: str, trace: str) -> None:
        """Back into the queue after ``delay`` ms; no attempt is used up."""
        now, options = now_ms(), {"skipAttempt": True, "fieldsToUpdate": self._fields(error, trace)}
        await self._move(
            lambda: self.backend.moveToDelayed(self.id, now, delay, self.token, options), _QUEUED, None, used=0
        )

    async def put_back(self, delay: int = 0) -> None:
        """Back into the queue, at once or after ``delay`` ms, as if not taken: no attempt is used up."""
        now = now_ms()
        await self._move(
            lambda: self.backend.moveToDelayed(self.id, now, delay, self.token, {"skipAttempt": True}),
            _QUEUED,
            None,
            used=0,
        )

    async def try_again(self, *, completed: bool) -> bool:
        """From the set of finished jobs back into the queue; False when it is no longer there."""
        with unavailable():
            try:
                await self.raw.retry("completed" if completed else "failed")
            except TypeError:
                return False
        return True

    def keep(self, *, completed: bool) -> Any:
        """For how long BullMQ keeps the finished job, in its words: True (not at all), a count, or {age, count}."""
        name = "removeOnComplete" if completed else "removeOnFail"
        if name in self.opts:
            return self.opts[name]
        keep = self.definition.keep_completed if completed else self.definition.keep_failed
        return {word: value for word, value in (("age", keep.age), ("count", keep.count)) if value is not None}

    def _fields(self, error: str, trace: str) -> dict[str, str]:
        traces = [*self.raw.stacktrace, cut(trace or error, LONGEST_TRACE)][-MOST_TRACES:]
        return {"failedReason": error, "stacktrace": json.dumps(traces, separators=(",", ":"))}

    async def _move(
        self, call: Callable[[], Awaitable[Any]], states: frozenset[str] | set[str], keep: Any, *, used: int = 1
    ) -> Any:
        """What the move answered; None where it was made before."""
        self.moving = True
        with unavailable():
            for last in (False, True):
                try:
                    return await call()
                except TypeError as error:  # BullMQ's own word for every refusal
                    if await self._already(states, keep, used):
                        return None
                    if last or not await self._take_again():
                        raise LockLost(f"job {self.id} is no longer ours: {error}") from error
        return None

    async def _take_again(self) -> bool:
        """The lock, where it ran out while everything stood still and nobody took the job since: see ``heartbeat``."""
        base = self.backend.toKey("")
        return bool(
            await self.backend.conn.eval(
                _TAKE_AGAIN, 2, f"{base}{self.id}", f"{base}active", self.id, self.token, self.lock, self.attempt
            )
        )

    async def _already(self, states: frozenset[str] | set[str], keep: Any, used: int) -> bool:
        """Whether the move was made before and only its answer was lost.

        The connection sends a command again when the answer does not come. The second finds the lock gone, by our own
        hand, and without this look the job would be taken for lost and its end never be told.
        """
        there = await self.backend.getJobData(self.id)
        if there is None:
            return not is_kept(keep)
        if int(there.get("ats") or 0) != self.attempt or int(there.get("atm") or 0) != self.attempts_made + used:
            return False
        return await self.backend.getState(self.id) in states


# KEYS 1 job, 2 active list. ARGV 1 id, 2 token, 3 lock (ms), 4 attempt.
_TAKE_AGAIN: Final = """
if redis.call('HGET', KEYS[1], 'ats') ~= ARGV[4] or not redis.call('LPOS', KEYS[2], ARGV[1]) then return 0 end
local holder = redis.call('GET', KEYS[1] .. ':lock')
-- Ours: the heartbeat, or this call whose answer was lost, was first.
if holder and holder ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[1] .. ':lock', ARGV[2], 'PX', ARGV[3])
return 1
"""
_QUEUED: Final = frozenset({"delayed", "waiting", "wait", "prioritized"})


def _whole(value: Any) -> int:
    """A number as other producers may have written it; 0 for what is none."""
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else 0
