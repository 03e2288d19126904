"""How a job's end is told, and what BullMQ says of it."""

from typing import Any

from jobcast.shared.clock import now_ms
from jobcast.shared.events import JobCancelled
from jobcast.shared.journal.contract import Reading


def cancelled(job_id: str, reading: Reading, reason: str) -> JobCancelled:
    attempt = int(reading.fields["attempt"])
    if int(reading.fields.get("over", b"0")) == attempt:
        # It waits to be tried again: the last attempt is closed, what is cancelled is the one to come.
        attempt += 1
    queue = reading.fields["queue"].decode()
    return JobCancelled(job_id=job_id, queue=queue, attempt=attempt, timestamp=now_ms(), reason=reason)


async def how_it_ended(job: Any) -> str | None:
    """The set BullMQ holds the finished job in; None while it is not over.

    BullMQ is asked, not the journal: a retry that reached only the journal can so be asked for again.
    """
    for ended in ("failed", "completed"):
        if await job.isInZSet(ended):
            return ended
    return None
