"""What a worker says of a job it takes, before it runs it: that it waited, and that it begins. Pure.

BullMQ's record tells of the first attempt; of a later one the journal's own record tells, when it is there.
"""

from typing import TypeVar

import msgspec

from jobcast.shared.events import Event, JobFailed, JobQueued, JobStarted
from jobcast.shared.journal.contract import Reading
from jobcast.shared.parents import weight_of
from jobcast.shared.states import TERMINAL
from jobcast.worker.taken import TakenJob

E = TypeVar("E", bound=Event)


def queued(job: TakenJob, reading: Reading | None) -> JobQueued:
    """``job-queued``, for a producer that could not say it; told twice it is one event.

    A job tried again by itself waits by its ``job-failed``, and a stalled one was never said to be over: for both the
    first attempt's news is said again, which changes nothing. A record that is over, or gone, is opened by the attempt
    at hand: somebody queued the job again by hand and told BullMQ alone. ``reading`` is None for a first attempt.
    """
    first = reading is None or (reading.position is not None and _state(reading) not in TERMINAL)
    return JobQueued(
        job_id=job.id,
        queue=job.queue,
        attempt=1 if first else job.attempt,
        timestamp=job.queued_at if first else job.started_at,
        name=job.name,
        max_attempts=job.max_attempts,
        delay=(job.delay or None) if first else None,
        priority=job.priority or None,
        parent_id=job.parent_id,
        weight=weight_of(job.opts),
    )


def started(job: TakenJob, reading: Reading | None, worker: str, now: int) -> JobStarted:
    """``job-queue-to-start``, with how long this attempt could have run and did not."""
    return JobStarted(
        job_id=job.id,
        queue=job.queue,
        attempt=job.attempt,
        timestamp=now,
        queue_to_start_time=max(0, job.started_at - _due(job, reading)),
        worker=worker,
    )


def _due(job: TakenJob, reading: Reading | None) -> int:
    """When this attempt could first have run, in Unix ms.

    The first: once it was queued and its delay was over. A later one: when the journal says that it was queued again,
    or that it was to be tried again; where it says neither (a stall, a retry it was not told of), it did not wait.
    """
    if reading is None:
        return job.queued_at + job.delay
    again = _event(reading, JobQueued)
    failed = _event(reading, JobFailed)
    times = [job.started_at] if again is None or again.attempt != job.attempt else [again.timestamp]
    if failed is not None and not failed.final and failed.attempt == job.attempt - 1:
        times.append(failed.retry_at or failed.timestamp)
    return min(times)


def _state(reading: Reading) -> str:
    return reading.fields["state"].decode()


def _event(reading: Reading, kind: type[E]) -> E | None:
    """The latest event of a kind the record holds."""
    payload = reading.fields.get(f"event:{kind.kind}")
    try:
        return None if payload is None else msgspec.json.decode(payload, type=kind)
    except msgspec.DecodeError:
        return None
