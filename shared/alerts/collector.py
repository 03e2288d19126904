"""Makes alerts of the jobs that failed for good or stalled, and of circuits that opened.

The journal's own step lists such a job as it records the event, so that an alert is owed exactly when the event stands,
whoever told it: a worker, the reconciler that speaks for a dead one, or a program that reports by itself. Here the list
is turned into alerts; an entry is taken off it after its alert is raised, and raised twice it is one alert. While the
outbox is full, entries stay where they are.
"""

import hashlib
from typing import Any, Final, cast

from redis.asyncio import Redis

from jobcast.shared import logs
from jobcast.shared.alerts.alert import CIRCUIT_OPEN, JOB_FAILURE, QUEUE_STALL
from jobcast.shared.alerts.outbox import Outbox
from jobcast.shared.circuit import Circuits
from jobcast.shared.details import JobDetails
from jobcast.shared.errors import Unavailable
from jobcast.shared.keys import Keys
from jobcast.shared.operations import Operations
from jobcast.shared.redis import unavailable
from jobcast.shared.states import JOB_FAILED

BATCH: Final = 100
MOST: Final = 10_000
"""Entries the journal keeps (``append.lua``); the oldest go."""
LONGEST_STACK: Final = 8000

_log = logs.get("alerts")


class Collector:
    """Run by one process at a time."""

    def __init__(self, client: Redis, keys: Keys, operations: Operations, outbox: Outbox) -> None:
        self._client = client
        self._list = keys.troubles()
        self._operations = operations
        self._circuits = Circuits(client, keys)
        self._outbox = outbox

    async def collect(self) -> int:
        """Raise what has come up, up to a batch; how many entries were seen to."""
        with unavailable():
            found = cast("list[bytes]", await self._client.lrange(self._list, 0, BATCH - 1))
            if found and int(await self._client.llen(self._list)) >= MOST:
                _log.error("more jobs failed or stalled than are kept to be told; alerts of the oldest may be lost")
        stalled: dict[str, list[tuple[bytes, str]]] = {}
        seen: list[bytes] = []
        for entry in found:
            event, queue, attempt, job_id = entry.decode().split(" ", 3)
            if event == CIRCUIT_OPEN:
                if await self._raise_circuit(queue):
                    seen.append(entry)
            elif event != JOB_FAILED:
                stalled.setdefault(queue, []).append((entry, job_id))
            elif await self._raise_failure(queue, job_id, int(attempt)):
                seen.append(entry)
        for queue, jobs in stalled.items():
            if await self._raise_stall(queue, [job_id for _, job_id in jobs]):
                seen += [entry for entry, _ in jobs]
        with unavailable():
            # One by one: the list may have lost its oldest meanwhile, and what is cut off by count would be others.
            async with self._client.pipeline(transaction=False) as pipe:
                for entry in seen:
                    pipe.lrem(self._list, 1, entry.decode())
                await pipe.execute()
        return len(seen)

    async def _raise_failure(self, queue: str, job_id: str, attempt: int) -> bool:
        known: JobDetails | None = None
        try:
            known = await self._operations.details(job_id, queue)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001  a record spoilt by hand must not hold up every alert after it
            _log.warning("nothing more is known of a job that failed", job_id=job_id, queue=queue, error=repr(error))
        name = known.name if known is not None else None
        reason = known.failed_reason if known is not None else None
        raised = await self._outbox.raise_alert(
            JOB_FAILURE,
            f"{queue} {job_id} {attempt}",
            queue=queue,
            text=f"job {job_id} ({name or '?'}) of queue {queue} failed for good: {reason or 'no reason is known'}",
            details={"jobId": job_id, "name": name, "attempt": attempt, **_how(known)},
        )
        return raised is not None

    async def _raise_circuit(self, queue: str) -> bool:
        circuit = await self._circuits.read(queue)
        raised = await self._outbox.raise_alert(
            CIRCUIT_OPEN,
            queue,
            queue=queue,
            text=f"no job of queue {queue} is taken: {circuit.reason or 'its last ones failed in a row'}",
            details={"state": circuit.state, "until": circuit.until, "reason": circuit.reason},
        )
        return raised is not None

    async def _raise_stall(self, queue: str, job_ids: list[str]) -> bool:
        jobs = "job" if len(job_ids) == 1 else "jobs"
        # Of other jobs it is another alert: by the queue alone, whatever stalls next would only be counted.
        which = hashlib.sha256(" ".join(sorted(set(job_ids))).encode()).hexdigest()[:12]
        raised = await self._outbox.raise_alert(
            QUEUE_STALL,
            f"{queue} {which}",
            queue=queue,
            text=f"{len(job_ids)} {jobs} of queue {queue} stalled: {', '.join(job_ids[:5])}",
            details={"jobIds": job_ids},
        )
        return raised is not None


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
