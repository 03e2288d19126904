"""The workers' heartbeats in Redis, as whoever watches over them reads them; the worker's own end is in its room.

A worker's jobs are not listed beside its heartbeat: the journal knows who began which, and a list would lack the job
that was taken just before the end. One hash holds all workers: a hundred are some 10 KB for each look.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis

from jobcast.shared.keys import Keys
from jobcast.shared.redis import unavailable

LIFE_MS: Final = 7 * 24 * 3600 * 1000
"""What nobody watches over and nobody renews is gone after a week, long after the records of its jobs."""

BEAT: Final = """
local time = redis.call('TIME')
local now = string.format('%d', time[1] * 1000 + math.floor(time[2] / 1000))
local last = redis.call('HGET', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ':' .. now .. ':' .. ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {tonumber(now), last or ''}
"""
"""KEYS 1 workers. ARGV 1 worker, 2 its count, 3 its queues, 4 life. Answers the time, and its beat before."""
# It writes first, as a heartbeat does: a Redis that is full or read-only takes no heartbeats, and answers every read.
# Taken away again at once: who looks into an unused Redis finds nothing of ours.
_LOOK: Final = """
redis.call('SET', KEYS[2], '')
redis.call('DEL', KEYS[2])
local time = redis.call('TIME')
return {time[1] * 1000 + math.floor(time[2] / 1000), redis.call('GET', KEYS[3]) or '0', redis.call('HGETALL', KEYS[1])}
"""
# Asked together with whether the worker is still silent: once it is not, or was seen to by another, nothing is told.
_HELD: Final = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return false end
local held = {}
for i = 2, #KEYS do
  local found = redis.pcall('HMGET', KEYS[i], 'state', 'attempt', 'event:job-queue-to-start')
  if not found.err and found[1] == 'active' and found[3] then
    local by_it = string.find(found[3], '"worker":"' .. ARGV[1] .. '"', 1, true)
    if by_it and string.match(found[3], '"attempt":(%d+)') == found[2] then
      held[#held + 1] = i - 2
      held[#held + 1] = tonumber(found[2])
    end
  end
end
return held
"""
_FORGET: Final = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1])
"""


@dataclass(frozen=True, slots=True)
class Beat:
    """What a heartbeat says: it was a worker's ``count``-th, at ``at`` (Unix ms of Redis), and it works for these."""

    count: int
    at: int
    queues: list[str]


def read_beat(text: str) -> Beat | None:
    """None for what is none."""
    match text.split(":"):
        case [count, at, queues] if count.isdecimal() and at.isdecimal():
            return Beat(int(count), int(at), queues.split(",") if queues else [])
    return None


@dataclass(frozen=True, slots=True)
class Look:
    """``at``: Redis' time, Unix ms. ``beats``: the last of each worker. ``stalled``: jobs ever told as stalled."""

    at: int
    beats: dict[str, str]
    stalled: int


class Heartbeats:
    """Every method raises ``Unavailable`` when Redis cannot be reached, and a look also when it takes no writes."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._look = client.register_script(_LOOK)
        self._held = client.register_script(_HELD)
        self._forget = client.register_script(_FORGET)

    async def look(self) -> Look:
        """Everybody's last heartbeat."""
        with unavailable():
            at, stalled, flat = await self._look(
                keys=[self._keys.workers(), self._keys.looked(), self._keys.stalled()], args=[]
            )
        words = [each.decode(errors="replace") for each in flat]
        return Look(at, dict(zip(words[::2], words[1::2], strict=True)), int(stalled))

    async def held(self, worker: str, beat: str, job_ids: Sequence[str]) -> list[tuple[str, int]] | None:
        """Those of the jobs that the worker had begun and nobody has told of since, with their attempts.

        None when its heartbeat is another one by now, or gone.
        """
        with unavailable():
            found = await self._held(
                keys=[self._keys.workers(), *map(self._keys.state, job_ids)],
                args=[worker, beat],
            )
        if found is None:
            return None
        return [(job_ids[at], attempt) for at, attempt in zip(found[::2], found[1::2], strict=True)]

    async def forget(self, worker: str, beat: str, stalled: int) -> None:
        """Its jobs are told, ``stalled`` of them by us; one that was heard of meanwhile stays."""
        with unavailable():
            await self._forget(keys=[self._keys.workers()], args=[worker, beat])
            if stalled:
                await self._client.incrby(self._keys.stalled(), stalled)
