"""Parents and children, from a worker's side: what its jobs mean to their parents, and what a parent's children gave.

The numbers are the journal's, counted with each event (see ``shared.rollup``); a worker tells the parent's progress of
them, throttled over all workers together. What a worker that died left untold is told with the next change, or by the
next look of whoever works for the parent's queue.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from jobcast.shared import logs
from jobcast.shared.errors import PayloadTooLarge, Unavailable
from jobcast.shared.parents import Parents
from jobcast.shared.redis import unavailable
from jobcast.worker.supervise import surely
from jobcast.worker.taken import TakenJob

MOST_BYTES: Final = 16 * 1024 * 1024
"""Of all results of one job's children: its handler holds them at once."""
PAGE: Final = 500
TELL_TRIES: Final = 100
"""Tellings of one parent in a row; a change after them begins anew."""

_log = logs.get("family")


class Family:
    """What the jobs of this process mean to their parents. At most one task for each parent of a job at work."""

    def __init__(self, parents: Parents) -> None:
        self._parents = parents
        self._tellers: dict[str, asyncio.Task[None]] = {}
        self._changed: set[str] = set()
        self._places: dict[str, int] = {}

    async def prepare(self, queue: str, job_id: str) -> None:
        """See to it that a parent is known before its child begins."""
        await surely(lambda: self._parents.prepare(queue, job_id))

    def changed(self, job_id: str) -> None:
        """A parent's numbers have changed: its progress is to be told."""
        self._changed.add(job_id)
        if job_id not in self._tellers:
            self._tellers[job_id] = task = asyncio.create_task(self._tell(job_id), name=f"roll up {job_id}")
            task.add_done_callback(lambda _: self._told(job_id))

    def _told(self, job_id: str) -> None:
        del self._tellers[job_id]
        if job_id in self._changed:
            self.changed(job_id)

    async def _tell(self, job_id: str) -> None:
        for _ in range(TELL_TRIES):
            self._changed.discard(job_id)
            try:
                told = await self._parents.roll_up(job_id)
            except Unavailable:
                return  # with the next change, or at the next look
            if told.parent is not None:
                self.changed(told.parent)
            if told.again is None:
                return
            await asyncio.sleep(told.again)

    async def child_ended(self, job_id: str, *, completed: bool) -> None:
        """A child of this job is over: perhaps it was the last one."""
        try:
            await self._parents.child_ended(job_id, completed=completed)
        except Unavailable as error:
            _log.info("a parent was not looked after: Redis is away", job_id=job_id, error=str(error))

    async def look(self, queue: str) -> None:
        """Make good what nobody told of the queue's parents: some of them at each look.

        Raises:
            Unavailable: Redis is away.
        """
        unknown, untold, self._places[queue] = await self._parents.unsettled(queue, self._places.get(queue, 0))
        for job_id in unknown:
            await self._parents.tell_standing(queue, job_id)
        for job_id in untold:
            self.changed(job_id)

    async def close(self) -> None:
        """End what is being told; the numbers are kept."""
        self._changed.clear()
        tasks = list(self._tellers.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


@dataclass(frozen=True, slots=True)
class Children:
    """What became of a job's children, by their ids: ``results``, and why those failed that it does not depend on."""

    results: dict[str, Any] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


class Kin:
    """The children of one job that is at work."""

    def __init__(self, job: TakenJob) -> None:
        self._job = job

    async def children(self) -> Children:
        """See :meth:`Context.children`."""
        backend, key = self._job.backend, self._job.backend.toKey(self._job.id)
        left = [MOST_BYTES]
        with unavailable():
            return Children(
                await _read(backend.conn, f"{key}:processed", json.loads, left),
                await _read(backend.conn, f"{key}:failed", str, left),
            )


async def _read(client: Any, key: str, load: Callable[[str], Any], left: list[int]) -> dict[str, Any]:
    """A hash by parts; ``left`` says for how many bytes more there is room, over all that is read."""
    found: dict[str, Any] = {}
    cursor = 0
    while True:
        cursor, part = await client.hscan(key, cursor, count=PAGE)
        left[0] -= sum(len(name) + len(value) for name, value in part.items())
        if left[0] < 0:
            raise PayloadTooLarge(
                f"the children's results are more than {MOST_BYTES >> 20} MiB; have them return where their data is"
            )
        found |= {name.rpartition(":")[2]: load(value) for name, value in part.items()}
        if not cursor:
            return found
