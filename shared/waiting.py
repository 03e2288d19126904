"""Looks into a BullMQ queue that its own class does not offer: what waits, what a schedule keeps, what can be read."""

from collections.abc import Sequence
from typing import Any, Final

from jobcast.shared import logs

MOST_SCHEDULES: Final = 1000

_log = logs.get("operations")


async def first_waiting(handle: Any, *, delayed: bool, limit: int) -> tuple[Sequence[str], int]:
    """The first ``limit`` jobs that a drain takes, and how many there are."""
    kept = await scheduled(handle)
    found: list[str] = []
    total = 0
    for name in ("wait", "paused", "prioritized", *(("delayed",) if delayed else ())):
        key, last = handle.toKey(name), limit + len(kept) - 1
        is_list = name in ("wait", "paused")
        ids = await (handle.client.lrange(key, -last - 1, -1) if is_list else handle.client.zrange(key, 0, last))
        total += int(await (handle.client.llen(key) if is_list else handle.client.zcard(key)))
        total -= sum(each in kept for each in ids)
        found += [each for each in ids if each not in kept]
    return found[:limit], total


async def readable(handle: Any, job_id: str) -> Any:
    """BullMQ's record; None for one that is gone, or was spoilt by hand: it must not keep the others waiting."""
    try:
        return await handle.getJob(job_id)
    except (TypeError, ValueError, AttributeError) as error:
        _log.warning("a job cannot be read; it is left as it is", queue=handle.name, job_id=job_id, error=repr(error))
        return None


async def scheduled(handle: Any) -> frozenset[str]:
    """The next job of each schedule of the queue, by BullMQ's way of naming it."""
    found = await handle.client.zrange(handle.toKey("repeat"), 0, MOST_SCHEDULES - 1, withscores=True)
    return frozenset(f"repeat:{key}:{int(at)}" for key, at in found)
