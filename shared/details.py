"""All that is known of one job, of BullMQ's record and the journal's together."""

import contextlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import orjson

from jobcast.shared.journal.contract import Reading
from jobcast.shared.snapshot import Snapshot, build

MOST_LOGS: Final = 100
LONGEST_ODD: Final = 2000


class JobDetails(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Times are Unix ms. ``kept`` is False where BullMQ has no record (any more): then the journal alone speaks.

    ``state`` is the journal's, ``bullmq_state`` BullMQ's. ``stacktrace`` has one text for each attempt that failed,
    ``logs`` the last of BullMQ's lines, ``events`` what the journal still holds, as it was published.
    """

    id: str
    name: str | None
    queue: str
    state: str
    bullmq_state: str | None
    kept: bool
    progress: Any = None
    attempts_made: int = 0
    attempts_started: int = 0
    max_attempts: int | None = None
    data: Any = None
    opts: Any = None
    failed_reason: str | None = None
    stacktrace: list[str] = []
    return_value: Any = None
    delay: int = 0
    priority: int = 0
    parent_id: str | None = None
    worker: str | None = None
    timestamp: int | None = None
    processed_on: int | None = None
    finished_on: int | None = None
    logs: list[str] = []
    events: list[Any] = []


async def read_details(
    handle: Any, job: Any, reading: Reading, events: Sequence[bytes], *, state: str | None = None
) -> JobDetails:
    """Of a job that BullMQ keeps. With ``state``, as in a list: without its logs."""
    known = _snapshot(job.id, handle.name, reading)
    held = state or str(await handle.getJobState(job.id))
    logs = [] if state else (await handle.getJobLogs(job.id, -MOST_LOGS, -1))["logs"]
    return JobDetails(
        id=job.id,
        name=job.name,
        queue=handle.name,
        state=known.state if known is not None else held,
        bullmq_state=held,
        kept=True,
        progress=plain(known.progress if known is not None and known.progress is not None else job.progress),
        attempts_made=job.attemptsMade,
        attempts_started=job.attemptsStarted,
        max_attempts=max(1, int(job.opts.get("attempts") or 1)),
        data=plain(job.data),
        opts=plain({name: value for name, value in job.opts.items() if value is not None}),
        failed_reason=plain(job.failedReason),
        stacktrace=plain([str(each) for each in job.stacktrace or []]),
        return_value=plain(job.returnvalue),
        delay=job.delay,
        priority=job.priority,
        parent_id=job.parent.get("id") if job.parent else None,
        worker=known.worker if known is not None else None,
        timestamp=job.timestamp,
        processed_on=job.processedOn or None,
        finished_on=job.finishedOn or None,
        logs=plain(logs),
        events=_read(events),
    )


def read_unkept(job_id: str, queue: str, reading: Reading, events: Sequence[bytes]) -> JobDetails:
    """Of a job that only the journal knows."""
    known = build(job_id, reading)
    return JobDetails(
        id=job_id,
        name=known.name,
        queue=queue,
        state=known.state,
        bullmq_state=None,
        kept=False,
        progress=known.progress,
        attempts_started=known.attempt,
        max_attempts=known.max_attempts,
        failed_reason=None if known.error is msgspec.UNSET else known.error,
        return_value=None if known.result is msgspec.UNSET else known.result,
        parent_id=None if known.parent_id is msgspec.UNSET else known.parent_id,
        worker=known.worker,
        timestamp=known.queued_at,
        processed_on=known.started_at,
        finished_on=known.finished_at,
        events=_read(events),
    )


def _snapshot(job_id: str, queue: str, reading: Reading) -> Snapshot | None:
    """The journal's word, where it is of this queue's job and not of another one of that id."""
    if reading.position is None or reading.fields["queue"].decode() != queue:
        return None
    return build(job_id, reading)


def _read(events: Sequence[bytes]) -> list[Any]:
    found = []
    for each in events:
        with contextlib.suppress(orjson.JSONDecodeError):  # written by somebody else, by hand say
            found.append(orjson.loads(each))
    return found


def plain(value: Any) -> Any:
    """``value`` where JSON can carry it; else its text: another program may have queued what our encoder refuses."""
    try:
        orjson.dumps(value)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return ascii(value)[:LONGEST_ODD] if not isinstance(value, list) else [plain(each) for each in value]
    return value
