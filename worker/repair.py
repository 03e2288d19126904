"""What the journal is owed of a job that BullMQ knows to be over. Pure: a record and an end in, events out."""

import json
from typing import Any, Final

from jobcast.shared.errors import BadRequest, PayloadTooLarge
from jobcast.shared.events import Event, JobCancelled, JobCompleted, JobFailed, JobQueued, JobStarted
from jobcast.shared.journal.contract import Reading
from jobcast.shared.snapshot import build
from jobcast.shared.states import QUEUED
from jobcast.worker import announce
from jobcast.worker.ended import End
from jobcast.worker.errors import CANCELLED
from jobcast.worker.values import LONGEST_ERROR, check_carried, cut

LOST: Final = (
    "OutcomeUnknown: the job is no longer in its queue and nobody told how it ended: "
    "it was removed, or it ended and was not kept"
)
SOMEBODY: Final = "unknown"
"""The worker of an attempt that was told by nobody: one that is not ours, say."""


def unfinished_retry(reading: Reading, end: End) -> bool:
    """Whether the journal was told of a retry by hand that never reached BullMQ: there the last attempt stands."""
    fields = reading.fields
    attempt = int(fields["attempt"])
    waits = fields["state"].decode() in QUEUED and int(fields.get("over", b"0")) < attempt
    return waits and end.job is not None and end.job.attempt < attempt and not is_newer(reading, end)


def is_newer(reading: Reading, end: End) -> bool:
    """Whether the end is that of a later job of the same id than the one on record."""
    born = int(reading.fields.get("born", b"0"))
    return end.job is not None and 0 < born < end.job.queued_at


def owed(job_id: str, queue: str, reading: Reading, end: End, name: str = SOMEBODY) -> list[Event]:
    """The events that bring the record to this end, in order: at least the end itself.

    An attempt that the journal never saw begin is begun first, for only what runs can complete. One that was told to
    be over is not opened again: the end is that of the next. A job that the journal never heard of is announced first,
    by ``name`` where BullMQ has no record of it either.
    """
    events: list[Event] = []
    shown, fields, job = build(job_id, reading), reading.fields, end.job
    attempt, over = shown.attempt, int(fields.get("over", b"0"))
    waits = fields.get("state", b"").decode() in QUEUED
    if not fields or is_newer(reading, end):
        events.append(_announced(job_id, queue, end, name))
        attempt, over, waits = 1, 0, True
    number = max(attempt, job.attempt if job is not None else 0, over + 1)
    queued_at = job.queued_at if job is not None else shown.queued_at or end.at
    began = (job.began_at if job is not None else shown.started_at) or end.at
    common: dict[str, Any] = {"job_id": job_id, "queue": queue, "attempt": number}
    if end.completed and (waits or number > attempt):
        delay = job.delay if job is not None else 0
        waited = max(0, began - queued_at - delay)
        events.append(JobStarted(**common, timestamp=began, queue_to_start_time=waited, worker=SOMEBODY))
    common |= {"timestamp": end.at}
    spans: dict[str, Any] = {"processing_time": max(0, end.at - began), "total_time": max(0, end.at - queued_at)}
    events.append(_completed(common, spans, end.text) if end.completed else _failed(common, spans, end))
    return events


def queued_again(job_id: str, queue: str, reading: Reading, at: int) -> JobQueued:
    """That a job waits once more that was over, of which BullMQ has no record any more."""
    shown = build(job_id, reading)
    attempt = max(shown.attempt, int(reading.fields.get("over", b"0"))) + 1
    name, most = shown.name or SOMEBODY, shown.max_attempts or 1
    return JobQueued(job_id=job_id, queue=queue, attempt=attempt, timestamp=at, name=name, max_attempts=most)


def _announced(job_id: str, queue: str, end: End, name: str) -> JobQueued:
    if end.job is not None:
        return announce.queued(end.job, None)
    return JobQueued(job_id=job_id, queue=queue, attempt=1, timestamp=end.at, name=name, max_attempts=1)


def _failed(common: dict[str, Any], spans: dict[str, Any], end: End) -> JobFailed | JobCancelled:
    if end.text.startswith(CANCELLED):
        return JobCancelled(**common, reason=end.text.removeprefix(CANCELLED) or None)
    made, most = (end.job.attempts_made, end.job.max_attempts) if end.job is not None else (common["attempt"],) * 2
    return JobFailed(
        **common,
        error=cut(end.text or "the job failed without a reason", LONGEST_ERROR),
        attempts=made,
        max_attempts=most,
        final=True,
        processing_time=spans["processing_time"],
    )


def _completed(common: dict[str, Any], spans: dict[str, Any], text: str) -> JobCompleted:
    """A result that no event can carry is left out: the job has completed all the same, and BullMQ has the result."""
    try:
        result = json.loads(text) if text else None
    except (ValueError, RecursionError):
        result = text
    event = JobCompleted(**common, **spans, result=result)
    try:
        check_carried(event, result)
    except (BadRequest, PayloadTooLarge):
        return JobCompleted(**common, **spans, result=None)
    return event
