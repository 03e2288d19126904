"""Makes alerts of the jobs that failed for good or stalled.

The journal's own step lists such a job as it records the event, so that an alert is owed exactly when the event stands,
whoever told it: a worker, the reconciler that speaks for a dead one, or a program that reports by itself. Here the list
is turned into alerts; an entry is taken off it after its alert is raised, and raised twice it is one alert.
"""

from typing import Any, Final, cast

from redis.asyncio import Redis

from jobcast.shared import logs
from jobcast.shared.alerts.alert import JOB_FAILURE, QUEUE_STALL
from jobcast.shared.alerts.outbox import Outbox
from jobcast.shared.details import JobDetails
from jobcast.shared.errors import BadRequest, UnknownJob
from jobcast.shared.keys import Keys
from jobcast.shared.operations import Operations
from jobcast.shared.redis import unavailable
from jobcast.shared.states import JOB_FAILED

BATCH: Final = 100
LONGEST_STACK: Final = 8000

_log = logs.get("alerts")


class Collector:
    """Run by one process at a time."""

    def __init__(self, client: Redis, keys: Keys, operations: Operations, outbox: Outbox) -> None:
        self._client = client
        self._list = keys.troubles()
        self._operations = operations
        self._outbox = outbox

    async def collect(self) -> int:
        """Raise what has come up, up to a batch; how many entries were seen to."""
        with unavailable():
            found = cast("list[bytes]", await self._client.lrange(self._list, 0, BATCH - 1))
        stalled: dict[str, list[str]] = {}
        for entry in found:
            event, queue, attempt, job_id = entry.decode().split(" ", 3)
            if event == JOB_FAILED:
                await self._raise_failure(queue, job_id, int(attempt))
            else:
                stalled.setdefault(queue, []).append(job_id)
        for queue, job_ids in stalled.items():
            await self._raise_stall(queue, job_ids)
        with unavailable():
            # One by one: the list may have lost its oldest meanwhile, and what is cut off by count would be others.
            async with self._client.pipeline(transaction=False) as pipe:
                for entry in found:
                    pipe.lrem(self._list, 1, entry.decode())
                await pipe.execute()
        return len(found)

    async def _raise_failure(self, queue: str, job_id: str, attempt: int) -> None:
        try:
            known: JobDetails | None = await self._operations.details(job_id, queue)
        except (UnknownJob, BadRequest) as error:
            _log.warning("nothing more is known of a job that failed", job_id=job_id, queue=queue, error=str(error))
            known = None
        name = known.name if known is not None else None
        reason = known.failed_reason if known is not None else None
        await self._outbox.raise_alert(
            JOB_FAILURE,
            f"{job_id} {attempt}",
            queue=queue,
            text=f"job {job_id} ({name or '?'}) of queue {queue} failed for good: {reason or 'no reason is known'}",
            details={"jobId": job_id, "name": name, "attempt": attempt, **_how(known)},
        )

    async def _raise_stall(self, queue: str, job_ids: list[str]) -> None:
        jobs = "job" if len(job_ids) == 1 else "jobs"
        await self._outbox.raise_alert(
            QUEUE_STALL,
            queue,
            queue=queue,
            text=f"{len(job_ids)} {jobs} of queue {queue} stalled: {', '.join(job_ids[:5])}",
            details={"jobIds": job_ids},
        )


def _how(known: JobDetails | None) -> dict[str, Any]:
    if known is None:
        return {}
    return {
        "error": known.failed_reason,
        "attempts": known.attempts_made or known.attempts_started,
        "maxAttempts": known.max_attempts,
        "stack": known.stacktrace[-1][-LONGEST_STACK:] if known.stacktrace else None,
        "worker": known.worker,
    }
