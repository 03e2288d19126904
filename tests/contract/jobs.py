"""Events of made-up jobs, and how to bring a job into each state by events alone."""

import itertools
from collections.abc import Callable
from typing import Any, Final

from jobcast.shared.events import (
    Children,
    ChildrenProgress,
    Event,
    JobCancelled,
    JobCompleted,
    JobFailed,
    JobLog,
    JobProgress,
    JobQueued,
    JobStalled,
    JobStarted,
)
from jobcast.shared.journal import Journal

NOW: Final = 1_790_000_000_000
_numbers = itertools.count(1)


def new_id() -> str:
    """An id no other test has used."""
    return f"job-{next(_numbers)}"


def _common(job_id: str, attempt: int, queue: str) -> dict[str, Any]:
    return {"job_id": job_id, "queue": queue, "attempt": attempt, "timestamp": NOW}


def queued(job_id: str, attempt: int = 1, queue: str = "films", delay: int | None = None) -> Event:
    return JobQueued(**_common(job_id, attempt, queue), name="encode", max_attempts=3, delay=delay)


def started(job_id: str, attempt: int = 1, queue: str = "films") -> Event:
    return JobStarted(**_common(job_id, attempt, queue), queue_to_start_time=5, worker="w1")


def progress(job_id: str, attempt: int = 1, queue: str = "films", percent: int = 50) -> Event:
    return JobProgress(**_common(job_id, attempt, queue), progress=percent, percent=percent)


def log(job_id: str, attempt: int = 1, queue: str = "films", line: str = "reading") -> Event:
    return JobLog(**_common(job_id, attempt, queue), line=line)


def stalled(job_id: str, attempt: int = 1, queue: str = "films") -> Event:
    return JobStalled(**_common(job_id, attempt, queue), last_seen=NOW - 9000, reason="no heartbeat")


def completed(job_id: str, attempt: int = 1, queue: str = "films") -> Event:
    return JobCompleted(**_common(job_id, attempt, queue), result={"ok": True}, processing_time=7, total_time=12)


def failed(
    job_id: str, attempt: int = 1, queue: str = "films", *, final: bool = True, retry_at: int | None = None
) -> Event:
    return JobFailed(
        **_common(job_id, attempt, queue),
        error="disk full",
        attempts=attempt,
        max_attempts=3,
        final=final,
        processing_time=7,
        retry_at=retry_at,
    )


def cancelled(job_id: str, attempt: int = 1, queue: str = "films") -> Event:
    return JobCancelled(**_common(job_id, attempt, queue), reason="not needed")


def tried_again_at_once(job_id: str, attempt: int = 1, queue: str = "films") -> Event:
    return failed(job_id, attempt, queue, final=False)


def tried_again_later(job_id: str, attempt: int = 1, queue: str = "films") -> Event:
    return failed(job_id, attempt, queue, final=False, retry_at=NOW + 1000)


def delayed(job_id: str, attempt: int = 1, queue: str = "films") -> Event:
    return queued(job_id, attempt, queue, delay=1000)


def with_children(
    job_id: str,
    attempt: int = 1,
    queue: str = "films",
    *,
    total: int = 2,
    share: float = 0.9,
    parent: str | None = None,
) -> Event:
    children = Children(total=total, share=share)
    common = _common(job_id, attempt, queue)
    return JobQueued(**common, name="cut", max_attempts=1, children=children, parent_id=parent)


def child_of(parent: str, job_id: str, attempt: int = 1, queue: str = "films", *, weight: float | None = None) -> Event:
    return JobQueued(**_common(job_id, attempt, queue), name="encode", max_attempts=3, parent_id=parent, weight=weight)


def children_progress(job_id: str, attempt: int = 1, queue: str = "films", percent: float = 30) -> Event:
    return ChildrenProgress(**_common(job_id, attempt, queue), progress=percent, percent=percent)


Maker = Callable[[str, int], Event]

EVERY_EVENT: Final[dict[str, Maker]] = {
    "job-queued": queued,
    "job-queue-to-start": started,
    "job-progress": progress,
    "job-log": log,
    "job-stalled": stalled,
    "job-completed": completed,
    "job-failed": failed,
    "job-cancelled": cancelled,
}

# How a job comes into each state.
PATHS: Final[dict[str, tuple[Maker, ...]]] = {
    "waiting": (queued,),
    "delayed": (delayed,),
    "waiting-children": (with_children,),
    "active": (queued, started),
    "stalled": (queued, started, stalled),
    "completed": (queued, started, completed),
    "failed": (queued, started, failed),
    "cancelled": (queued, started, cancelled),
    "waiting after a failed try": (queued, started, tried_again_at_once),
    "delayed after a failed try": (queued, started, tried_again_later),
}


async def bring(journal: Journal, job_id: str, path: str, attempt: int = 1) -> None:
    """Bring a job into a state; the name's first word is the state."""
    for make in PATHS[path]:
        await journal.append(make(job_id, attempt))
    reading = await journal.read(job_id)
    assert reading.fields["state"].decode() == path.partition(" ")[0]
