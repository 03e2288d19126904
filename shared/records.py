"""What is done to a job in both of its records at once: BullMQ's, and what the journal must then say."""

import contextlib
from typing import Any

from jobcast.shared.clock import now_ms
from jobcast.shared.endings import cancelled, queued
from jobcast.shared.errors import Refused
from jobcast.shared.events import Event
from jobcast.shared.journal.contract import Journal, Reading, Writer
from jobcast.shared.queue import JobQueues
from jobcast.shared.redis import unavailable
from jobcast.shared.states import TERMINAL


class Records:
    """Both records, and the writer that tells the journal."""

    def __init__(self, queues: JobQueues, journal: Journal) -> None:
        self._queues = queues
        self._journal = journal
        self._writer = Writer()

    async def take_out(self, handle: Any, queue: str, job: Any, reason: str) -> bool:
        """Take a job that waits, and its children, from its queue; False when a worker has it, who is asked to stop."""
        # Asked first: were we to end between the two records, the reconciler would tell it as cancelled, not as lost.
        if not job.finishedOn:
            await self._journal.request_cancel(job.id, reason)
        with unavailable():
            if int(await handle.backend.remove(job.id, True)) != 1:
                return False
        await self.tell_cancelled(queue, job.id, reason, job)
        return True

    async def tell_cancelled(self, queue: str, job_id: str, reason: str, job: Any) -> None:
        """Say that a job gone from BullMQ was cancelled, if it was not over. ``job`` is what BullMQ had of it.

        Of one that was over there, and not yet in the journal, the reconciler tells the end that BullMQ's stream names.
        """
        if job is not None and job.finishedOn:
            return
        reading = await self._journal.read(job_id)
        if reading.position is None and job is not None:
            await self._queues.announce(queue, job)
            reading = await self._journal.read(job_id)
        fields = reading.fields
        if not fields or fields["queue"].decode() != queue or fields["state"].decode() in TERMINAL:
            return
        await self._tell(cancelled(job_id, reading, reason), reading, None)

    async def tell_queued(self, queue: str, job: Any, reading: Reading) -> None:
        """Say that the job waits to be taken at once, for the attempt that comes next."""
        again = job.attemptsStarted
        event = queued(queue, job, attempt=again + 1, timestamp=now_ms() if again else job.timestamp)
        await self._tell(event, reading, job)

    async def _tell(self, event: Event, reading: Reading, job: Any) -> None:
        born = int(reading.fields["born"]) if reading.position is not None else job.timestamp
        with contextlib.suppress(Refused):  # a worker was quicker: what we had to say is already history
            await self._journal.append(event, key=self._writer.key(), born=born)
