"""What is told of BullMQ's jobs by those who do not run them: that one waits, that one was cancelled; how one ended."""

from typing import Any

from jobcast.shared.clock import now_ms
from jobcast.shared.events import JobCancelled, JobQueued
from jobcast.shared.journal.contract import Reading


def queued(queue: str, job: Any, *, attempt: int, timestamp: int, delay: int | None = None) -> JobQueued:
    """``job-queued`` of BullMQ's ``job``."""
    return JobQueued(
        job_id=job.id,
        queue=queue,
        attempt=attempt,
        timestamp=timestamp,
        name=job.name,
        max_attempts=max(1, int(job.opts.get("attempts") or 1)),
        delay=delay,
        priority=int(job.opts.get("priority") or 0) or None,
        parent_id=job.parent.get("id") if job.parent else None,
    )


def cancelled(job_id: str, reading: Reading, reason: str) -> JobCancelled:
    """``job-cancelled`` of a job that is not over, by its record."""
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
