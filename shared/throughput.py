"""How many jobs a queue gets done, calmly, from BullMQ's own counts of finished jobs by the minute.

BullMQ's script counts within the step that finishes a job, so nothing is written for it and no count is lost with a
worker; it keeps ``MINUTES_COUNTED`` minutes. Node's ``queue.getMetrics`` reads the same numbers, and Node's workers add
to them where they have ``metrics`` switched on.

The rate is an exponentially weighted mean over minutes: one of ``TAU`` minutes ago weighs 1/e of the present one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from jobcast.shared.clock import now_ms
from jobcast.shared.names import check_queue_name
from jobcast.shared.queue import JobQueues
from jobcast.shared.redis import unavailable

MINUTES_COUNTED: Final = 60
MINUTE: Final = 60_000
TAU: Final = 5.0
LEAST_MS: Final = 10_000
"""Milliseconds a queue must have been counted for before anything is told of it."""
FEWEST: Final = 3
"""Jobs of the last hour below which nobody can say how long one will wait."""
LONGEST_WAIT: Final = 24 * 3600 * 1000


class Throughput(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Jobs per minute; absent where it is not known. ``wait``: ms until a job queued now would be taken up, about."""

    completed_per_minute: float | None = None
    failed_per_minute: float | None = None
    wait: int | None = None


@dataclass(frozen=True, slots=True)
class Counted:
    """BullMQ's count of one kind of end, in its last minute that had one and in the ``minutes`` before, newest first.

    ``since`` (Unix ms) is the first end of that minute, ``latest`` how many there were from then on.
    """

    since: int = 0
    latest: int = 0
    minutes: Sequence[int] = ()


class Throughputs:
    """Of all queues. ``Unavailable`` when Redis is away."""

    def __init__(self, queues: JobQueues) -> None:
        self._queues = queues

    async def read(self, queue: str) -> Throughput:
        """Raises ``BadQueueName``."""
        check_queue_name(queue)
        with unavailable():
            handle = await self._queues.handle(queue)
            async with handle.client.pipeline(transaction=False) as pipe:
                for kind in ("completed", "failed"):
                    pipe.hmget(handle.toKey(f"metrics:{kind}"), "count", "prevTS", "prevCount")
                    pipe.lrange(handle.toKey(f"metrics:{kind}:data"), 0, MINUTES_COUNTED - 1)
                pipe.llen(handle.toKey("wait"))
                pipe.zcard(handle.toKey("prioritized"))
                pipe.hexists(handle.toKey("meta"), "paused")
                *counts, waiting, prioritized, paused = await pipe.execute()
        completed, failed = (_counted(*counts[at : at + 2]) for at in (0, 2))
        return reckon(completed, failed, waiting + prioritized, now_ms(), paused=bool(paused))


def reckon(completed: Counted, failed: Counted, waiting: int, now: int, *, paused: bool = False) -> Throughput:
    """The rates, and how long the last of those ``waiting`` will wait: not known for a queue that rests."""
    rates = rate(completed, now), rate(failed, now)
    known = [each for each in rates if each is not None]
    enough = sum(each.latest + sum(each.minutes) for each in (completed, failed)) >= FEWEST
    wait = None
    if not waiting and not paused:
        wait = 0 if known else None
    elif not paused and enough and sum(known) > 0:
        wait = _calm(waiting / sum(known) * MINUTE)
    if known:  # of two kinds, one that never was is none, once the other is known
        rates = tuple(round(each or 0.0, 2) for each in rates)  # type: ignore[assignment]
    return Throughput(*rates, wait)


def rate(counted: Counted, now: int) -> float | None:
    """Jobs per minute; None before ``LEAST_MS`` have been counted."""
    if not counted.since:
        return None
    gone = max(now // MINUTE - counted.since // MINUTE, 0)
    # The minutes since the last end had none; the one at hand is a part of one, and so is the first that was counted.
    parts = [(now % MINUTE / MINUTE, counted.latest if not gone else 0)]
    if gone:
        idle = min(gone - 1, MINUTES_COUNTED)
        parts += [(1.0, 0)] * idle + [(1.0, counted.latest)]
    parts += [(1.0, each) for each in counted.minutes]
    if not counted.minutes and not gone:
        # Nothing is older than the first end: the minute had no more of itself to count.
        parts = [((now - counted.since) / MINUTE, counted.latest - 1)]
    time, jobs, age = 0.0, 0.0, 0.0
    for length, count in parts:
        weight = math.exp(-age / TAU)
        time, jobs, age = time + weight * length, jobs + weight * count, age + length
    return None if age * MINUTE < LEAST_MS else max(jobs, 0.0) / time


def _calm(wait: float) -> int | None:
    """Two figures: a third would change with every look. None for what is longer than anybody can foresee."""
    if wait > LONGEST_WAIT:
        return None
    step: int = 10 ** max(math.floor(math.log10(max(wait, 1.0))) - 1, 2)
    return max(round(wait / step), 1) * step


def _counted(fields: Sequence[Any], minutes: Sequence[Any]) -> Counted:
    total, since, before = (int(float(each or 0)) for each in fields)
    return Counted(since, total - before, [int(float(each)) for each in minutes])
