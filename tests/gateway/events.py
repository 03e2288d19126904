"""Events to append, as short as a test wants to say them."""

from typing import Any, Final

from jobcast.shared.events import Event, JobCompleted, JobFailed, JobLog, JobProgress, JobQueued, JobStarted
from jobcast.shared.journal.contract import Appended, Journal

QUEUE: Final = "demo"


def common(job_id: str, attempt: int, queue: str = QUEUE) -> dict[str, Any]:
    return {"job_id": job_id, "queue": queue, "attempt": attempt, "timestamp": 1_700_000_000_000}


def queued(job_id: str, attempt: int = 1, queue: str = QUEUE) -> Event:
    return JobQueued(**common(job_id, attempt, queue), name="simulate", max_attempts=3)


def started(job_id: str, attempt: int = 1, queue: str = QUEUE) -> Event:
    return JobStarted(**common(job_id, attempt, queue), queue_to_start_time=5, worker="w1")


def progressed(job_id: str, progress: Any, attempt: int = 1, queue: str = QUEUE, **more: Any) -> Event:
    return JobProgress(**common(job_id, attempt, queue), progress=progress, **more)


def logged(job_id: str, line: str, attempt: int = 1, queue: str = QUEUE) -> Event:
    return JobLog(**common(job_id, attempt, queue), line=line)


def completed(job_id: str, attempt: int = 1, queue: str = QUEUE, result: Any = None) -> Event:
    return JobCompleted(
        **common(job_id, attempt, queue), result=result or {"files": 3}, processing_time=10, total_time=15
    )


def failed(job_id: str, attempt: int = 1, *, final: bool = True, error: str = "boom") -> Event:
    return JobFailed(
        **common(job_id, attempt), error=error, attempts=attempt, max_attempts=3, final=final, processing_time=10
    )


async def run_job(
    journal: Journal, job_id: str, steps: int = 3, queue: str = QUEUE, *, finish: bool = True
) -> list[Appended]:
    """A whole job: queued, started, ``steps`` of progress, and its end unless told otherwise."""
    events = [queued(job_id, queue=queue), started(job_id, queue=queue)]
    events += [progressed(job_id, step, queue=queue) for step in range(steps)]
    events += [completed(job_id, queue=queue)] if finish else []
    return [await journal.append(event) for event in events]
