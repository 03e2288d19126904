"""What an operator does to jobs and queues: look, promote, remove, retry, clean, drain, pause.

Whatever changes a job is said in both of its records. BullMQ is asked first wherever it may refuse, and the journal is
told what then is so; where this process ends between the two, the same call made again says the rest (a promotion), or
a worker's reconciler does (a removal, by the request to cancel that was left in the journal before).

A job that is over and is removed or cleaned away leaves BullMQ alone. Its journal record is history, which others may
be reading, and expires by itself; until then :meth:`Operations.details` shows it with ``kept`` false.
"""

from typing import Any, Final

import msgspec

from jobcast.shared.clock import now_ms
from jobcast.shared.details import JobDetails, read_details, read_listed, read_records, read_unkept
from jobcast.shared.errors import BadRequest, NotPossible, UnknownJob
from jobcast.shared.family import Relative, descendants, is_at_work
from jobcast.shared.journal.contract import Journal, Reading
from jobcast.shared.names import check_job_id, check_queue_name
from jobcast.shared.queue import JobQueues
from jobcast.shared.records import Records
from jobcast.shared.redis import unavailable
from jobcast.shared.waiting import first_waiting, readable, scheduled

MOST_AT_ONCE: Final = 1000
"""Jobs of one call at most; what is left is told, and the same call again goes on."""
MOST_SKIPPED: Final = 5000
"""Failed jobs of one call at most that are passed over."""
MOST_MS: Final = 2**53
"""What JSON's readers and Redis' scores hold exactly."""
PAGE: Final = 200
KEPT: Final = {"completed": 24 * 3600.0, "failed": 7 * 24 * 3600.0}
"""Seconds after which a clean takes a finished job away, unless told otherwise."""
STATES: Final = ("waiting", "active", "delayed", "prioritized", "waiting-children", "completed", "failed")
"""BullMQ's own, by which jobs are listed; those with a priority wait in a set of their own."""
REMOVED: Final = "removed"
DRAINED: Final = "drained"
CANCELLED: Final = "Cancelled: "
"""How BullMQ's reason of a job begins that the worker failed because it was cancelled (see ``worker.errors``)."""


class Done(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What a call did to ``jobs`` of a queue. ``left`` more could be done by the same call again.

    ``skipped`` were not to be done: cancelled ones, say. A retry's round goes on with ``before`` (Unix ms): jobs that
    failed later may be the ones just tried again; and with ``skip``, so many of its first were passed over already.
    """

    queue: str
    jobs: int
    skipped: int = 0
    left: int = 0
    before: int | None = None
    skip: int | None = None


class Operations:
    """See the module. Every method raises ``Unavailable`` when Redis is away, and checks names before it is asked."""

    def __init__(self, queues: JobQueues, journal: Journal) -> None:
        self._queues = queues
        self._journal = journal
        self._records = Records(queues, journal)

    # One job. ``queue`` is needed only for a job of which the journal holds no record.

    async def details(self, job_id: str, queue: str | None = None) -> JobDetails:
        """All that both records say of it.

        Raises:
            UnknownJob: neither has it.
        """
        reading, queue = await self._find(job_id, queue)
        events = [entry.wire for entry in await self._journal.history(job_id)] if reading.position else []
        with unavailable():
            handle = await self._queues.handle(queue)
            job = await handle.getJob(job_id)
            if job is not None:
                return await read_details(handle, job, reading, events)
        if reading.position is None:
            raise UnknownJob(f"no record of job {job_id} in queue {queue}")
        return read_unkept(job_id, queue, reading, events)

    async def promote(self, job_id: str, queue: str | None = None) -> None:
        """Have a delayed job wait like the others, whether it was to start later or to be tried again later.

        Raises:
            UnknownJob: its queue does not keep it.
            NotPossible: it is not delayed.
        """
        reading, queue = await self._find(job_id, queue)
        with unavailable():
            handle, job = await self._kept(queue, job_id)
            state = await handle.getJobState(job_id)
            # Once more where the journal was not told: whoever promoted it may have been ended before.
            untold = state in ("waiting", "prioritized") and reading.fields.get("state") == b"delayed"
            if state != "delayed" and not untold:
                raise NotPossible(f"job {job_id} is {state}; only a delayed job can be promoted")
            if not untold:
                try:
                    await job.promote()
                except TypeError as error:  # BullMQ's own word for every refusal; a worker was quicker
                    raise NotPossible(f"job {job_id} is not delayed any more") from error
        await self._records.tell_queued(queue, job, reading)

    async def remove(self, job_id: str, queue: str | None = None) -> list[str]:
        """Take a job and its children, finished ones too, out of BullMQ; those not over are told as cancelled.

        Returns the ids of what was removed, the job's own first.

        Raises:
            UnknownJob: its queue does not keep it.
            NotPossible: it or one of its children is at work, or it is the next job of a schedule.
        """
        _, queue = await self._find(job_id, queue)
        with unavailable():
            handle, job = await self._kept(queue, job_id)
            await self._check_removable(handle, job)
            related = await descendants(handle, job_id)
            if found := await is_at_work(handle, [Relative(queue, job_id), *related]):
                raise NotPossible(f"job {found} is at work; cancel it instead, or wait for its end")
        if not await self._records.take_out(handle, queue, job, REMOVED):
            raise NotPossible(f"job {job_id} was taken by a worker meanwhile; it is asked to stop")
        for each in related:
            await self._records.tell_cancelled(each.queue, each.job_id, "its parent was removed", None)
        return [job_id, *(each.job_id for each in related)]

    # A queue.

    async def jobs(self, queue: str, state: str, *, start: int = 0, limit: int = 50) -> list[JobDetails]:
        """BullMQ's jobs in one of ``STATES``: finished ones last first, others next first.

        Without their data, results, stacks and history: see :meth:`details`.
        """
        check_queue_name(queue)
        if state not in STATES:
            raise BadRequest(f"expected state as one of {', '.join(STATES)}; got {state[:40]!r}")
        if start < 0 or not 1 <= limit <= PAGE:
            raise BadRequest(f"expected start from 0 and limit from 1 to {PAGE}, got {start} and {limit}")
        with unavailable():
            handle = await self._queues.handle(queue)
            ids = await handle.backend.getRanges([state], start, start + limit - 1, state not in KEPT)
            records = await read_records(handle, ids)
        readings = await self._journal.read_many(ids)
        return [
            read_listed(job_id, queue, state, record, reading)
            for job_id, record, reading in zip(ids, records, readings, strict=True)
            if record
        ]

    async def retry_failed(
        self, queue: str, *, limit: int = MOST_AT_ONCE, before: int | None = None, skip: int = 0
    ) -> Done:
        """Queue what has failed once more, the longest failed first; cancelled jobs stay as they are."""
        check_queue_name(queue)
        before = now_ms() if before is None else before
        if not (0 <= before < MOST_MS and 0 <= skip < MOST_MS):
            raise BadRequest(f"expected before and skip as the last answer gave them, got {before} and {skip}")
        done = skipped = 0
        with unavailable():
            handle = await self._queues.handle(queue)
            key = handle.toKey("failed")
            while done < _checked(limit) and skipped < MOST_SKIPPED:
                # Those tried again are gone from the set; those skipped stand before what is still to be seen.
                page = min(PAGE, limit - done)
                ids = await handle.client.zrangebyscore(key, "-inf", before, start=skip + skipped, num=page)
                for job_id in ids:
                    if await self._retry_one(handle, queue, job_id):
                        done += 1
                    elif await handle.client.zscore(key, job_id) is not None:
                        skipped += 1
                if not ids:
                    break
            left = int(await handle.client.zcount(key, "-inf", before)) - skip - skipped
        return Done(queue=queue, jobs=done, skipped=skipped, left=max(0, left), before=before, skip=skip + skipped)

    async def clean(
        self, queue: str, state: str, *, older_than: float | None = None, limit: int = MOST_AT_ONCE
    ) -> Done:
        """Forget jobs that ended as ``state`` more than ``older_than`` seconds ago; see ``KEPT`` for the defaults."""
        check_queue_name(queue)
        if state not in KEPT:
            raise BadRequest(f"expected state completed or failed, got {state[:40]!r}; waiting jobs are drained")
        age = KEPT[state] if older_than is None else older_than
        if not 0 <= age < 1e9:
            raise BadRequest(f"expected an age from 0 seconds, got {age}")
        with unavailable():
            handle = await self._queues.handle(queue)
            gone = await handle.clean(round(age * 1000), _checked(limit), state)
            left = await handle.client.zcount(handle.toKey(state), "-inf", now_ms() - round(age * 1000))
        return Done(queue=queue, jobs=len(gone), left=int(left))

    async def drain(self, queue: str, *, delayed: bool = False, limit: int = MOST_AT_ONCE) -> Done:
        """Cancel every job that waits, and with ``delayed`` those that wait for their time; what runs goes on.

        Parents that wait for their children stay, and so does the next job of each schedule: BullMQ's rule.
        """
        check_queue_name(queue)
        done = skipped = 0
        with unavailable():
            handle = await self._queues.handle(queue)
            waiting, total = await first_waiting(handle, delayed=delayed, limit=_checked(limit))
            allowed = {"waiting", "prioritized", *(("delayed",) if delayed else ())}
            for job_id in waiting:
                # Workers take from the same end meanwhile: what has begun, or is over by now, is none of ours.
                still = await handle.getJobState(job_id) in allowed
                if still and await self._take_out(handle, queue, job_id):
                    done += 1
                else:
                    skipped += 1
        return Done(queue=queue, jobs=done, skipped=skipped, left=max(0, total - done - skipped))

    async def pause(self, queue: str) -> None:
        """Have workers of every kind take no further job; those in hand go on. A new job waits."""
        check_queue_name(queue)
        with unavailable():
            await (await self._queues.handle(queue)).pause()

    async def resume(self, queue: str) -> None:
        """Have workers take jobs again."""
        check_queue_name(queue)
        with unavailable():
            handle = await self._queues.handle(queue)
            # A queue paused by an older BullMQ gives back 7,000 jobs a call.
            for _ in range(PAGE):
                if not await handle.resume():
                    return

    # Steps.

    async def _find(self, job_id: str, queue: str | None) -> tuple[Reading, str]:
        if queue is not None:
            check_queue_name(queue)
        reading = await self._journal.read(check_job_id(job_id))
        if reading.position is not None and queue in (None, reading.fields["queue"].decode()):
            return reading, reading.fields["queue"].decode()
        if queue is None:
            raise UnknownJob(f"no record of job {job_id}; name its queue if another program queued it")
        return Reading(None, {}), queue

    async def _kept(self, queue: str, job_id: str) -> tuple[Any, Any]:
        handle = await self._queues.handle(queue)
        job = await handle.getJob(job_id)
        if job is None:
            raise UnknownJob(f"job {job_id} is not kept by queue {queue}")
        return handle, job

    async def _check_removable(self, handle: Any, job: Any) -> None:
        if await handle.getJobState(job.id) == "active":
            raise NotPossible(f"job {job.id} is at work; cancel it instead, or wait for its end")
        if job.id in await scheduled(handle):
            raise NotPossible(f"job {job.id} is the next of schedule {job.repeatJobKey}; remove the schedule")

    async def _take_out(self, handle: Any, queue: str, job_id: str) -> bool:
        job = await readable(handle, job_id)
        return job is not None and await self._records.take_out(handle, queue, job, DRAINED)

    async def _retry_one(self, handle: Any, queue: str, job_id: str) -> bool:
        job = await readable(handle, job_id)
        reading = await self._journal.read(job_id)
        fields = reading.fields if reading.position is not None else {}
        if job is None or fields.get("state") == b"cancelled" or str(job.failedReason).startswith(CANCELLED):
            return False
        if fields and fields["queue"].decode() != queue:
            return False  # the journal speaks of another queue's job of that id
        if not await job.isInZSet("failed"):
            return False  # somebody was quicker, and perhaps it has succeeded by now
        try:
            if fields:
                await self._queues.retry(job_id, begun=job.attemptsStarted)
            else:
                # Its record has expired, or it never had one; it begins here.
                await self._records.tell_queued(queue, job, reading)
                await job.retry("failed")
        except (NotPossible, UnknownJob, TypeError):
            return False  # somebody else was quicker, or its id is that of a running job of another queue
        return True


def _checked(limit: int) -> int:
    if not 1 <= limit <= MOST_AT_ONCE:
        raise BadRequest(f"expected limit from 1 to {MOST_AT_ONCE}, got {limit}")
    return limit
