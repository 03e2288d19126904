"""Finds what the feed lost without a word: the record is asked how far it is, and everybody must have come as far.

A lost connection is noticed and made up for at once. What is left are losses that nobody notices: a proxy between Redis
and here that drops what it holds, a replica that takes over, a fault of ours. The next event of a job would show them,
but behind the last event of a job there is none. A queue's record says which of its jobs have changed, so this costs
what happens, and not what is watched.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from jobcast.gateway.feed import Feed
from jobcast.gateway.hub import Hub
from jobcast.shared import logs
from jobcast.shared.errors import Unavailable
from jobcast.shared.journal.contract import Journal
from jobcast.shared.position import Position

CHECK_EVERY: Final = 1.5
MOST_CHANGES: Final = 9_999
"""Jobs of one queue in one round; where more have changed, all that are watched are looked at. An index holds one more:
where it is full of changes, some have been pushed out."""
BATCH: Final = 50
Places = dict[str, Position]
log = logs.get("positions")


class PositionCheck:
    """:meth:`run` is a task."""

    def __init__(self, journal: Journal, hub: Hub, feed: Feed) -> None:
        self._journal = journal
        self._hub = hub
        self._feed = feed
        self._places: Places = {}
        """How far each queue was when everything up to there had come."""
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    def stop(self) -> None:
        """End :meth:`run`, also where a cancellation is swallowed on its way, as with the feed."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()

    async def run(self) -> None:
        """Look again and again, until :meth:`stop`."""
        self._task = asyncio.current_task()
        while not self._stopped:
            await asyncio.sleep(CHECK_EVERY)
            if self._feed.status != "alive":
                # Everybody will be compared with the record when it is there again.
                continue
            try:
                await self.look()
            except Unavailable:
                continue
            except Exception:
                log.exception("the positions could not be compared; trying again")

    async def look(self) -> None:
        """One round. What is behind the record although all of the feed has come was lost, and is read."""
        queues = await self._journal.queues()
        found = await self._journal.queue_positions(queues)
        places = {queue: place for queue, place in zip(queues, found, strict=True) if place is not None}
        moved = {queue: place for queue, place in places.items() if place != self._places.get(queue)}
        jobs = await self._positions(await self._changed(moved))
        # Once this is answered, all that stands in what was read has come.
        await self._feed.barrier()
        await self._compare(moved, jobs)
        self._places = places

    async def _changed(self, moved: Places) -> list[str]:
        """Jobs that are watched and have had an event since the last round."""
        watched: dict[str, None] = {}
        for queue in moved:
            if not self._hub.watches_jobs:
                break
            try:
                changes = await self._journal.changes(queue, self._places.get(queue), MOST_CHANGES)
            except Unavailable as error:
                # One record that was spoilt by hand must not end the looking at all others; a Redis that is away will.
                log.warning("the changes of a queue cannot be read", queue=queue, reason=str(error))
                continue
            if changes.job_ids is None:
                return self._hub.watched_jobs()
            watched.update(dict.fromkeys(filter(self._hub.is_watched, changes.job_ids)))
        return list(watched)

    async def _positions(self, job_ids: Sequence[str]) -> Places:
        found: Places = {}
        for start in range(0, len(job_ids), BATCH):
            batch = job_ids[start : start + BATCH]
            positions = await self._journal.positions(batch)
            found.update((job, each) for job, each in zip(batch, positions, strict=True) if each is not None)
        return found

    async def _compare(self, queues: Places, jobs: Places) -> None:
        lost = [queue for queue, place in queues.items() if not self._hub.verify_queue(queue, place)]
        for number, (job_id, position) in enumerate(jobs.items(), start=1):
            if not self._hub.verify_job(job_id, position):
                lost.append(job_id)
            if number % BATCH == 0:
                # Events go before: a thousand jobs take some milliseconds.
                await asyncio.sleep(0)
        if lost:
            self._hub.metrics.silent_gaps.inc(len(lost))
            log.warning("events were lost on their way from Redis; they are read", of=lost[:10], count=len(lost))
