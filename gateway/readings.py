"""Records read for many watchers at once: while one batch is under way, the next one gathers.

A page that everybody reloads, or a gateway that takes over another's clients, asks for thousands of records in a
moment; asked for one by one, most of what that costs is the asking. A job that several ask for is read once.
"""

import asyncio
from collections.abc import Iterable, Iterator
from typing import Final

from jobcast.gateway.metrics import Metrics
from jobcast.shared.journal.contract import Journal, Reading

LARGEST_BATCH: Final = 200


class Readings:
    """Present states; nobody is answered with a record read before they asked."""

    def __init__(self, journal: Journal, metrics: Metrics) -> None:
        self._journal = journal
        self._metrics = metrics
        self._wanted: dict[str, list[asyncio.Future[Reading]]] = {}
        self._reader: asyncio.Task[None] | None = None

    async def read(self, job_id: str) -> Reading:
        """The job's record as it is now or a little later.

        Raises:
            Unavailable: the journal cannot be read.
        """
        # Each waits for an answer of their own: one that gives up must not take it from the others.
        answer: asyncio.Future[Reading] = asyncio.get_running_loop().create_future()
        self._wanted.setdefault(job_id, []).append(answer)
        if self._reader is None:
            self._reader = asyncio.create_task(self._read_all(), name="readings")
        return await answer

    async def _read_all(self) -> None:
        try:
            while self._wanted:
                batch = dict(list(self._wanted.items())[:LARGEST_BATCH])
                for job_id in batch:
                    del self._wanted[job_id]
                await self._read_batch(batch)
        finally:
            self._reader = None

    async def _read_batch(self, batch: dict[str, list[asyncio.Future[Reading]]]) -> None:
        try:
            readings = await self._journal.read_many(batch)
        except Exception as error:  # noqa: BLE001  it is raised where it is waited for; untold, they would wait for ever
            for answer in _waiting(batch.values()):
                answer.set_exception(error)
            return
        self._metrics.readings.inc(len(readings))
        self._metrics.quarantined.inc(sum(reading.garbled for reading in readings))
        for answers, reading in zip(batch.values(), readings, strict=True):
            for answer in _waiting((answers,)):
                answer.set_result(reading)


def _waiting(answers: Iterable[list[asyncio.Future[Reading]]]) -> Iterator[asyncio.Future[Reading]]:
    """Those that somebody still waits for."""
    return (answer for each in answers for answer in each if not answer.done())
