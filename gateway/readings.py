"""Records read for many watchers at once: while one batch is under way, the next one gathers.

A page that everybody reloads, or a gateway that takes over another's clients, asks for thousands of records in a
moment; asked for one by one, most of what that costs is the asking. A job that several ask for is read once.
"""

import asyncio
from typing import Final

from jobcast.gateway.metrics import Metrics
from jobcast.shared.errors import JobcastError
from jobcast.shared.journal.contract import Journal, Reading

LARGEST_BATCH: Final = 200


class Readings:
    """Present states; nobody is answered with a record read before they asked."""

    def __init__(self, journal: Journal, metrics: Metrics) -> None:
        self._journal = journal
        self._metrics = metrics
        self._wanted: dict[str, asyncio.Future[Reading]] = {}
        self._reader: asyncio.Task[None] | None = None

    async def read(self, job_id: str) -> Reading:
        """The job's record as it is now or a little later.

        Raises:
            Unavailable: the journal cannot be read.
        """
        answer = self._wanted.get(job_id)
        if answer is None:
            answer = self._wanted[job_id] = asyncio.get_running_loop().create_future()
            if self._reader is None:
                self._reader = asyncio.create_task(self._read_all(), name="readings")
        # Others may wait for the same answer: one that gives up must not take it from them.
        return await asyncio.shield(answer)

    async def _read_all(self) -> None:
        try:
            while self._wanted:
                batch = dict(list(self._wanted.items())[:LARGEST_BATCH])
                for job_id in batch:
                    del self._wanted[job_id]
                await self._read_batch(batch)
        finally:
            self._reader = None

    async def _read_batch(self, batch: dict[str, asyncio.Future[Reading]]) -> None:
        try:
            readings = await self._journal.read_many(batch)
        except JobcastError as error:
            for answer in batch.values():
                answer.set_exception(error)
                # It may be that everybody who asked has gone: then nobody looks at it.
                answer.exception()
            return
        self._metrics.readings.inc(len(readings))
        for answer, reading in zip(batch.values(), readings, strict=True):
            answer.set_result(reading)
