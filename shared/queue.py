"""BullMQ's producer side behind one typed adapter: submit, cancel, retry, look.

A job lives in two records: BullMQ's (what is to be run) and the journal (what happened). BullMQ's is written first;
``job-queued`` follows, and the worker that takes the job says it again, so a producer that dies between the two, or
one that knows nothing of the journal, leaves no hole.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from bullmq import Job, Queue
from redis.asyncio import Redis

from jobcast.shared.bulk import NewJob, add_bulk, check_bulk
from jobcast.shared.cancelling import Cancelled, Canceller
from jobcast.shared.clock import now_ms
from jobcast.shared.definitions import Definitions, wanted
from jobcast.shared.endings import cancelled, how_it_ended, queued
from jobcast.shared.errors import BadJobId, BadRequest, NotPossible, Refused, UnknownJob
from jobcast.shared.events import Event, JobQueued
from jobcast.shared.journal.contract import DAY_MS, Journal, Reading, Writer
from jobcast.shared.keys import Keys
from jobcast.shared.names import check_job_id, check_job_name, check_queue_name
from jobcast.shared.options import JobOptions
from jobcast.shared.parents import Parents
from jobcast.shared.redis import unavailable
from jobcast.shared.states import LIVE, QUEUED, RUNNING, TERMINAL

MOST_QUEUES: Final = 64
"""Queue handles kept open; each holds BullMQ's scripts. The one unused for longest is let go."""
LONGEST_REASON: Final = 500
ANNOUNCED_AT_ONCE: Final = 100
"""Who waits longer than three seconds for a connection is refused one: a few hundred at once might."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """``fresh`` is False when BullMQ already had a job of that id, which then stands for the new one."""

    job_id: str
    fresh: bool


class JobQueues:
    """All queues of one Redis, from the producer's side. ``client`` comes from ``connect_for_bullmq``."""

    def __init__(self, client: Redis, journal: Journal, *, prefix: str = "bull", keys: Keys | None = None) -> None:
        self._client = client
        self._journal = journal
        self._prefix = prefix
        self._definitions = Definitions(client, keys)
        self._queues: OrderedDict[str, Any] = OrderedDict()
        self._version: str | None = None
        self._writer = Writer()
        self._last_birth = 0
        self._canceller = Canceller(journal, Parents(client, journal, prefix=prefix, keys=keys), self.handle, prefix)

    async def submit(self, queue: str, name: str, data: Any, options: JobOptions | None = None) -> Submitted:
        """Queue a job and say so in the journal.

        Raises:
            BadQueueName, BadJobId, BadRequest: refused before Redis.
            Unavailable: nothing was queued, or it is not known whether it was.
        """
        check_queue_name(queue)
        check_job_name(name)
        options = options or JobOptions()
        named = options.job_id is not None or options.deduplication is not None
        born = self._birth(apart=named)
        told = await self.options_for(queue, options, born)
        if options.job_id is not None:
            await self.check_free([(queue, options.job_id)])
        with unavailable():
            handle = await self.handle(queue)
            replaceable = await self._replaceable(handle, options)
            try:
                job = await handle.add(name, data, told)
            except (TypeError, ValueError, OverflowError, RecursionError) as error:
                raise BadRequest(f"the job's data cannot be written as JSON: {error}") from error
            fresh = True
            if named:
                # BullMQ answers with the id of the job it already has; whose it is shows in its time of birth.
                kept = await Job.fromId(handle, job.id)
                fresh = kept is not None and kept.timestamp == born
                job = kept or job
        if fresh and replaceable:
            await self._tell_replaced(queue, replaceable, str(job.id))
        if fresh and not await self.announce(queue, job):
            raise NotPossible(f"job {job.id} was queued, but its id is that of a running job of another queue")
        return Submitted(str(job.id), fresh)

    async def submit_many(self, queue: str, jobs: Sequence[NewJob]) -> list[Submitted]:
        """Queue up to a thousand jobs, all or none of them, and say so in the journal; answers in their order.

        Raises:
            BadQueueName, BadJobId, BadRequest: one of them was refused before Redis, and so are all.
            Unavailable: none was queued, or it is not known whether they were.
        """
        check_queue_name(queue)
        check_bulk(jobs)
        await self.check_free([(queue, job.options.job_id) for job in jobs if job.options.job_id is not None])
        defaults = await self._definitions.for_jobs(queue)
        opts = [wanted(job.options, defaults, self._birth(apart=job.named)) for job in jobs]
        with unavailable():
            added = await add_bulk(self._client, await self.handle(queue), jobs, opts)
        new = [job for job, fresh in added if fresh]
        told: list[bool] = []
        for start in range(0, len(new), ANNOUNCED_AT_ONCE):
            part = new[start : start + ANNOUNCED_AT_ONCE]
            told += await asyncio.gather(*(self.announce(queue, job) for job in part))
        if not all(told):
            hidden = [str(job.id) for job, is_told in zip(new, told, strict=True) if not is_told]
            raise NotPossible(f"queued, but under ids of running jobs of another queue: {', '.join(hidden)[:500]}")
        return [Submitted(str(job.id), fresh) for job, fresh in added]

    def _birth(self, *, apart: bool) -> int:
        """The time of a job's birth; ``apart`` from every other such, so that two of one millisecond are two."""
        if not apart:
            return now_ms()
        self._last_birth = max(now_ms(), self._last_birth + 1)
        return self._last_birth

    async def _replaceable(self, handle: Any, options: JobOptions) -> str | None:
        """The job that this one takes the place of if it is still delayed."""
        known = options.deduplication
        return await handle.getDeduplicationJobId(known.id) if known is not None and known.replace else None

    async def _tell_replaced(self, queue: str, job_id: str, by: str) -> None:
        """BullMQ drops a replaced job without a word: whoever watches it would wait for ever."""
        with unavailable():
            if await Job.fromId(await self.handle(queue), job_id) is not None:
                return
        reading = await self._journal.read(job_id)
        if reading.position is not None and reading.fields["state"].decode() in QUEUED:
            await self._append(cancelled(job_id, reading, f"replaced by job {by}"))

    async def announce(self, queue: str, job: Any) -> bool:
        """Append ``job-queued`` for a job BullMQ holds; the same news twice is one event.

        False when the record belongs to a job of another queue that is not over: nobody could see this one.
        """
        delay = int(job.opts.get("delay") or 0)
        event = queued(queue, job, attempt=1, timestamp=job.timestamp, delay=delay or None)
        # A record lives a day after its last event: one that waits for longer must not be forgotten meanwhile.
        return await self._append(event, born=job.timestamp, ttl=delay + DAY_MS if delay else None)

    async def cancel(self, job_id: str, reason: str | None = None) -> str:
        """As :meth:`cancel_family`; what became of the job alone."""
        return (await self.cancel_family(job_id, reason)).state

    async def cancel_family(self, job_id: str, reason: str | None = None) -> Cancelled:
        """Stop a job: one that waits is taken from its queue, one that runs is asked to stop.

        With a job that waits for its children those are stopped that are not over, and theirs.

        Raises:
            UnknownJob: there is no record of it.
            NotPossible: it is already over.
        """
        reading = await self._known(job_id)
        return await self._canceller.cancel(job_id, reading, (reason or "cancelled on request")[:LONGEST_REASON])

    async def tell_withdrawn(self, job_id: str, reason: str) -> None:
        """Append ``job-cancelled`` for a job that waited and that BullMQ was made to forget; no other is touched."""
        reading = await self._journal.read(job_id)
        if reading.position is None or reading.fields["state"].decode() not in QUEUED:
            return
        await self._append(cancelled(job_id, reading, reason))

    async def retry(self, job_id: str, *, begun: int | None = None) -> None:
        """Queue a finished job again, as a new attempt of the same job.

        ``begun``: how often it had been begun when the caller decided so; if more often by now, it is left alone.

        Raises:
            UnknownJob: there is no record of it, or BullMQ no longer keeps it.
            NotPossible: it is not over yet.
        """
        reading = await self._known(job_id)
        state, queue = reading.fields["state"].decode(), reading.fields["queue"].decode()
        with unavailable():
            job = await Job.fromId(await self.handle(queue), job_id)
            ended_as = None if job is None or state in RUNNING else await how_it_ended(job)
        if job is None and state in TERMINAL:
            raise UnknownJob(f"job {job_id} is no longer kept by its queue; submit it anew")
        if ended_as is None:
            raise NotPossible(f"job {job_id} is {state}; only a job that is over can be tried again")
        # Said first: BullMQ's worker may take the job at once, and its start must find the new attempt opened.
        known = _begun(reading) if begun is None else begun
        if job.attemptsStarted > known or not await self._open_attempt(job, queue, job.attemptsStarted + 1, reading):
            raise NotPossible(f"job {job_id} has been tried again meanwhile; see how that ended before you ask again")
        with unavailable():
            try:
                await job.retry(ended_as)
            except TypeError as error:  # BullMQ's own word for every refusal; a second asker was quicker
                raise NotPossible(f"job {job_id} cannot be tried again: {error}") from error

    async def _open_attempt(self, job: Any, queue: str, attempt: int, reading: Reading) -> bool:
        """Say that a job that is over waits again; False when somebody else did since it was read."""
        event = JobQueued(
            job_id=str(job.id),
            queue=queue,
            attempt=attempt,
            timestamp=now_ms(),
            name=job.name,
            max_attempts=max(1, int(job.opts.get("attempts") or 1)),
        )
        born, fields = int(reading.fields["born"]), reading.fields
        try:
            told = await self._journal.append(event, key=self._writer.key(), born=born)
        except Refused:
            return False
        # One that waits already was opened by who died before it told BullMQ: that is made good here.
        return told.fresh or fields["state"].decode() not in TERMINAL or attempt <= int(fields["attempt"])

    async def options_for(self, queue: str, options: JobOptions, born: int) -> dict[str, Any]:
        """What BullMQ is told of a job that is born now and has no id yet."""
        return wanted(options, await self._definitions.for_jobs(queue), born)

    async def defaults(self, queue: str) -> dict[str, Any]:
        """BullMQ's options of a job of this queue that says nothing itself."""
        return await self._definitions.for_jobs(queue)

    async def counts(self, queue: str) -> dict[str, int]:
        """How many jobs BullMQ holds, by state; jobs with a priority wait like the others."""
        check_queue_name(queue)
        with unavailable():
            found = await (await self.handle(queue)).getJobCounts()
        found = {state: int(count) for state, count in found.items()}
        found["waiting"] = found.pop("waiting", 0) + found.pop("prioritized", 0)
        return dict(sorted(found.items()))

    async def paused(self, queue: str) -> bool:
        """Whether workers were told to take no job from this queue."""
        check_queue_name(queue)
        with unavailable():
            return bool(await (await self.handle(queue)).isPaused())

    async def _known(self, job_id: str) -> Reading:
        reading = await self._journal.read(check_job_id(job_id))
        if reading.position is None:
            raise UnknownJob(f"no record of job {job_id}")
        return reading

    async def _append(self, event: Event, *, born: int = 0, ttl: int | None = None) -> bool:
        try:
            await self._journal.append(event, key=self._writer.key(), born=born, ttl=ttl)
        except Refused as refused:
            # Else the worker was quicker: what we had to say is already history.
            return refused.reason != "other-queue"
        return True

    async def check_free(self, named: Sequence[tuple[str, str]]) -> None:
        """Refuse ids, given with their queues, that a running job of another queue has.

        BullMQ counts ids by queue, the doors do not.
        """
        readings = await self._journal.read_many([job_id for _, job_id in named])
        for (queue, job_id), reading in zip(named, readings, strict=True):
            fields = reading.fields
            if fields and fields["queue"].decode() != queue and fields["state"].decode() in LIVE:
                raise BadJobId(f"job {job_id} is at work in queue {fields['queue'].decode()}; give this one another id")

    async def handle(self, name: str) -> Any:
        """BullMQ's queue object, its server's version known; kept for later calls. Call inside ``unavailable()``."""
        handle = self._queues.get(name)
        if handle is None:
            handle = Queue(name, {"connection": self._client, "prefix": self._prefix})
            if self._version is None:
                self._version = str((await self._client.info("server"))["redis_version"])
            # Known already: BullMQ would ask for it by itself, queue by queue, in the middle of a call.
            handle.redisConnection.version = self._version
            self._queues[name] = handle
            if len(self._queues) > MOST_QUEUES:
                self._queues.popitem(last=False)
        self._queues.move_to_end(name)
        return handle


def _begun(reading: Reading) -> int:
    """How often the journal knows a job to have been begun: one that waits for an attempt has not begun it."""
    attempt, over = int(reading.fields["attempt"]), int(reading.fields.get("over", b"0"))
    return attempt - 1 if reading.fields["state"].decode() in QUEUED and over != attempt else attempt
