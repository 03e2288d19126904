"""The state of a job as one object: what a client is told when it comes late. Pure: a record in, a snapshot out."""

from typing import Any, TypeVar

import msgspec

from jobcast.shared import rollup
from jobcast.shared.events import (
    Event,
    JobCancelled,
    JobCompleted,
    JobFailed,
    JobProgress,
    JobQueued,
    JobStarted,
)
from jobcast.shared.journal.contract import Reading
from jobcast.shared.states import TERMINAL, State

E = TypeVar("E", bound=Event)

JOB_SNAPSHOT = "job-snapshot"


class Snapshot(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Times are Unix ms, spans ms. Without a record: ``state`` unknown, ``epoch`` and ``seq`` None."""

    job_id: str
    queue: str | None = None
    name: str | None = None
    state: State = "unknown"
    attempt: int = 0
    max_attempts: int | None = None
    progress: float | int | dict[str, Any] | None = None
    percent: float | int | None = None
    details: Any = None
    stage: str | None = None
    result: Any = msgspec.UNSET
    error: str | msgspec.UnsetType = msgspec.UNSET
    queued_at: int | None = None
    started_at: int | None = None
    finished_at: int | None = None
    queue_to_start_time: int | None = None
    processing_time: int | None = None
    total_time: int | None = None
    heartbeat_at: int | None = None
    worker: str | None = None
    epoch: str | None = None
    seq: int = 0
    recovered: bool = False
    parent_id: str | msgspec.UnsetType = msgspec.UNSET
    children: dict[str, int] | msgspec.UnsetType = msgspec.UNSET
    eta: int | msgspec.UnsetType = msgspec.UNSET


def build(job_id: str, reading: Reading, *, recovered: bool = False) -> Snapshot:
    """What ``reading`` says of the job. Events of an attempt that is over count for history, not for the state."""
    fields = reading.fields
    if reading.position is None:
        return Snapshot(job_id=job_id, recovered=recovered)
    attempt = int(fields["attempt"])
    state: str = fields["state"].decode()
    if "cancel" in fields:
        state = "cancelling"
    queued = _latest(fields, JobQueued)
    started = _latest(fields, JobStarted, attempt)
    progress = _latest(fields, JobProgress, attempt)
    ended = _ended(fields, attempt)
    roll_up = rollup.read(fields)
    queued_at = queued.timestamp if queued else None
    finished_at = ended.timestamp if ended and state in TERMINAL else None
    return Snapshot(
        job_id=job_id,
        queue=fields["queue"].decode(),
        name=queued.name if queued else None,
        state=state,  # type: ignore[arg-type]  # the journal holds no other words
        attempt=attempt,
        max_attempts=queued.max_attempts if queued else None,
        progress=progress.progress if progress else None,
        percent=_percent(progress, ended),
        details=progress.details if progress else None,
        stage=progress.stage if progress else None,
        result=ended.result if isinstance(ended, JobCompleted) else msgspec.UNSET,
        error=_error(ended),
        queued_at=queued_at,
        started_at=started.timestamp if started else None,
        finished_at=finished_at,
        queue_to_start_time=started.queue_to_start_time if started else None,
        processing_time=None if ended is None else getattr(ended, "processing_time", None),
        total_time=finished_at - queued_at if finished_at is not None and queued_at is not None else None,
        heartbeat_at=int(fields["at"]),
        worker=started.worker if started else None,
        epoch=reading.position.epoch,
        seq=reading.position.seq,
        recovered=recovered,
        parent_id=(queued.parent_id if queued else None) or msgspec.UNSET,
        children=roll_up.counts if roll_up else msgspec.UNSET,
        eta=progress.eta if progress and progress.eta is not None and ended is None else msgspec.UNSET,
    )


def _latest(fields: dict[str, bytes], kind: type[E], attempt: int | None = None) -> E | None:
    payload = fields.get(f"event:{kind.kind}")
    if payload is None:
        return None
    try:
        event = msgspec.json.decode(payload, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Written by somebody else, by hand say: the rest of the record is told all the same.
        return None
    return event if attempt is None or event.attempt == attempt else None


def _ended(fields: dict[str, bytes], attempt: int) -> JobCompleted | JobFailed | JobCancelled | None:
    for kind in (JobCompleted, JobFailed, JobCancelled):
        event = _latest(fields, kind, attempt)
        if event is not None:
            return event  # type: ignore[return-value]  # the loop runs over exactly these three
    return None


def _percent(progress: JobProgress | None, ended: JobCompleted | JobFailed | JobCancelled | None) -> float | int | None:
    if isinstance(ended, JobCompleted):
        return 100
    return progress.percent if progress else None


def _error(ended: Event | None) -> str | msgspec.UnsetType:
    return ended.error if isinstance(ended, JobFailed) else msgspec.UNSET
