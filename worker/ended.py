"""What BullMQ says of jobs that may be over: by its sets, by their records, by its stream of events."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final, Literal

from jobcast.shared.redis import unavailable
from jobcast.worker.errors import CANCELLED
from jobcast.worker.taken import TakenJob

STREAM_PAGE: Final = 1000
STREAM_PAGES: Final = 11
"""BullMQ keeps about 10,000 events of a queue."""

_ENDED: Final = frozenset({"completed", "failed"})
_WAITING: Final = frozenset({"wait", "paused", "prioritized", "delayed", "waiting-children"})
_QUEUED: Final = frozenset({"added", "waiting", "delayed", "waiting-children"})
_WENT_ON: Final = frozenset({"active", "stalled", "removed"})

Standing = Literal["completed", "failed", "gone"]


@dataclass(frozen=True, slots=True)
class End:
    """How a job ended, ``at`` in Unix ms. ``text``: its result as JSON, or why it failed.

    ``job``: BullMQ's record of it, None where that is gone. ``removed``: it was taken out while it waited.
    """

    completed: bool
    text: str
    at: int
    job: TakenJob | None = None
    removed: bool = False


class Ends:
    """The ends of one queue's jobs. Every method raises ``Unavailable`` when Redis is away."""

    def __init__(self, backend: Any, read: Callable[[dict[str, str], str], TakenJob]) -> None:
        self._backend = backend
        self._read = read

    async def standings(self, job_ids: Collection[str]) -> dict[str, Standing]:
        """Which of the jobs are over or gone, in one round trip; one that waits or runs is not named.

        Not one instant: a job on its way may seem gone or over for once. Look twice.
        """
        if not job_ids:
            return {}
        backend, ids = self._backend, list(job_ids)
        with unavailable():
            async with backend.conn.pipeline(transaction=False) as pipe:
                pipe.zmscore(backend.keys["completed"], ids)
                pipe.zmscore(backend.keys["failed"], ids)
                for job_id in ids:
                    pipe.exists(backend.toKey(job_id))
                completed, failed, *there = await pipe.execute()
        found: dict[str, Standing] = {}
        for job_id, has_completed, has_failed, is_there in zip(ids, completed, failed, there, strict=True):
            if has_completed is not None:
                found[job_id] = "completed"
            elif has_failed is not None:
                found[job_id] = "failed"
            elif not is_there:
                found[job_id] = "gone"
        return found

    async def recorded(self, job_id: str) -> End | None:
        """The end in the job's own record; None when it is not over after all.

        The record alone says which: since its set or stream was read the job may have ended once more, otherwise.
        """
        with unavailable():
            data = await self._backend.getJobData(job_id)
        if data is None or not data.get("finishedOn"):
            return None
        # Written with each completion and taken away with each retry; the reason of an earlier attempt may stay.
        completed = "returnvalue" in data
        text = data.get("returnvalue" if completed else "failedReason") or ""
        return End(completed, text, int(data["finishedOn"]), self._read(data, job_id))

    async def told(self, job_ids: Collection[str]) -> dict[str, End]:
        """The ends of jobs that are gone, as far as BullMQ's stream of events still tells them.

        A job's last move decides: one that was removed or drained while it waited was cancelled, by Bull Board say; one
        that was removed later, or only began, has no end.
        """
        left, found, last = set(job_ids), {}, "+"
        for _ in range(STREAM_PAGES):
            if not left:
                break
            with unavailable():
                page = await self._backend.conn.xrevrange(self._backend.keys["events"], last, "-", count=STREAM_PAGE)
            for entry_id, fields in page:
                job_id, event = fields.get("jobId", ""), fields.get("event")
                if job_id in left and event in _ENDED | _QUEUED | _WENT_ON:
                    left.discard(job_id)
                    # A drain leaves no trace; but whoever takes a job says so in the same step.
                    if event in _QUEUED or is_end(fields):
                        found[job_id] = end_in(entry_id, fields)
            if len(page) < STREAM_PAGE:
                break
            last = f"({page[-1][0]}"
        return found


def is_end(fields: dict[str, str]) -> bool:
    """Whether an entry of BullMQ's stream says that a job ended, or was removed while it waited."""
    event = fields.get("event")
    return event in _ENDED or (event == "removed" and fields.get("prev") in _WAITING)


def end_in(entry_id: str, fields: dict[str, str]) -> End:
    """The end that such an entry tells, or that stands for it where a drain left none."""
    at = int(entry_id.partition("-")[0])
    if fields["event"] not in _ENDED:
        return End(False, f"{CANCELLED}removed from its queue", at, removed=True)
    completed = fields["event"] == "completed"
    text = fields.get("returnvalue" if completed else "failedReason") or ""
    return End(completed, text, at)
