"""The children of a BullMQ job, to the last: which they are, and whether one of them is at work."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from jobcast.shared.errors import NotPossible

MOST_RELATED: Final = 1000
"""Jobs of one family that are looked at; a larger one is refused rather than half seen."""


class Relative(NamedTuple):
    """A job of a family, which may be in another queue than its parent."""

    queue: str
    job_id: str


async def descendants(handle: Any, job_id: str) -> list[Relative]:
    """Children and theirs, whether over or not, in no order.

    Raises:
        NotPossible: there are more than ``MOST_RELATED``.
    """
    prefix = f"{handle.prefix}:"
    found: dict[str, Relative] = {}
    todo = [handle.toKey(job_id)]
    while todo:
        for key in await _children(handle.client, todo.pop()):
            queue, _, child = key.removeprefix(prefix).partition(":")
            if key in found or not key.startswith(prefix) or not child:
                continue
            if len(found) == MOST_RELATED:
                raise NotPossible(f"job {job_id} has more than {MOST_RELATED} children; remove them first")
            found[key] = Relative(queue, child)
            todo.append(key)
    return list(found.values())


async def is_at_work(handle: Any, family: Sequence[Relative]) -> str | None:
    """The id of one that a worker holds, if any does."""
    async with handle.client.pipeline(transaction=False) as pipe:
        for each in family:
            pipe.exists(f"{handle.prefix}:{each.queue}:{each.job_id}:lock")
        held = await pipe.execute()
    return next((each.job_id for each, lock in zip(family, held, strict=True) if lock), None)


async def _children(client: Any, key: str) -> list[str]:
    async with client.pipeline(transaction=False) as pipe:
        pipe.smembers(f"{key}:dependencies")
        pipe.hkeys(f"{key}:processed")
        pipe.hkeys(f"{key}:failed")
        pipe.zrange(f"{key}:unsuccessful", 0, -1)
        return [each for part in await pipe.execute() for each in part]
