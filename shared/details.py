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
_LISTED: Final = (
    "name", "timestamp", "processedOn", "finishedOn", "delay", "priority", "ats", "atm", "attemptsMade", "failedReason",
    "opts",
)  # fmt: skip


class _Options(msgspec.Struct):
    attempts: int = 1


class JobDetails(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Times are Unix ms. ``kept`` is False where BullMQ has no record (any more): then the journal alone speaks.

    ``state`` is the journal's, ``bullmq_state`` BullMQ's. ``stacktrace`` has one text for each attempt that failed,
    ``children``: in which states they are, by number. ``logs`` are the last of BullMQ's lines, ``events`` what the
    journal still holds, as it was published.
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
    children: dict[str, int] | None = None
    worker: str | None = None
    timestamp: int | None = None
    processed_on: int | None = None
    finished_on: int | None = None
    logs: list[str] = []
    events: list[Any] = []


async def read_details(handle: Any, job: Any, reading: Reading, events: Sequence[bytes]) -> JobDetails:
    """Of a job that BullMQ keeps."""
    known = _snapshot(job.id, handle.name, reading)
    held = str(await handle.getJobState(job.id))
    logs = (await handle.getJobLogs(job.id, -MOST_LOGS, -1))["logs"]
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
        children=None if known is None else _or_none(known.children),
        worker=known.worker if known is not None else None,
        timestamp=job.timestamp,
        processed_on=job.processedOn or None,
        finished_on=job.finishedOn or None,
        logs=plain(logs),
        events=_read(events),
    )


async def read_records(handle: Any, job_ids: Sequence[str]) -> list[dict[str, str]]:
    """What a list shows of jobs, each in its place: not their data and results, of which a page could be 200 MB."""
    async with handle.client.pipeline(transaction=False) as pipe:
        for job_id in job_ids:
            pipe.hmget(handle.toKey(job_id), *_LISTED)
        found = await pipe.execute()
    return [{name: value for name, value in zip(_LISTED, values, strict=True) if value} for values in found]


def read_listed(job_id: str, queue: str, state: str, record: dict[str, str], reading: Reading) -> JobDetails:
    """Of a job in a list. What was spoilt by hand is left out: it must not keep the others from being seen."""
    known = _snapshot(job_id, queue, reading)
    return JobDetails(
        id=job_id,
        name=record.get("name"),
        queue=queue,
        state=known.state if known is not None else state,
        bullmq_state=state,
        kept=True,
        progress=known.progress if known is not None else None,
        attempts_made=_number(record.get("atm") or record.get("attemptsMade")),
        attempts_started=_number(record.get("ats")),
        max_attempts=_attempts(record.get("opts", "{}")),
        failed_reason=record["failedReason"][:LONGEST_ODD] if "failedReason" in record else None,
        delay=_number(record.get("delay")),
        priority=_number(record.get("priority")),
        worker=known.worker if known is not None else None,
        timestamp=_number(record.get("timestamp")) or None,
        processed_on=_number(record.get("processedOn")) or None,
        finished_on=_number(record.get("finishedOn")) or None,
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
        failed_reason=_or_none(known.error),
        return_value=_or_none(known.result),
        parent_id=_or_none(known.parent_id),
        children=_or_none(known.children),
        worker=known.worker,
        timestamp=known.queued_at,
        processed_on=known.started_at,
        finished_on=known.finished_at,
        events=_read(events),
    )


def _or_none(value: Any) -> Any:
    return None if value is msgspec.UNSET else value


def _snapshot(job_id: str, queue: str, reading: Reading) -> Snapshot | None:
    """The journal's word, where it is of this queue's job and not of another one of that id."""
    if reading.position is None or reading.fields["queue"].decode() != queue:
        return None
    return build(job_id, reading)


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 16 else 0


def _attempts(opts: str) -> int | None:
    try:
        return max(1, msgspec.json.decode(opts, type=_Options).attempts)
    except msgspec.DecodeError:
        return None


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
