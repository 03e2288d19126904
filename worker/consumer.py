"""BullMQ's consumer side behind one adapter.

``bullmq.Worker`` lends its Redis scripts; its own loop does not run. That loop ends in silence when Redis is away at
the start, dies of a ``CancelledError``, starves under a rate limit, rounds delays up to whole seconds, and loses what
its event listeners raise. Here the loop is ours: take, run, renew, look for stalled jobs, each supervised.
"""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from bullmq import Job, Worker
from redis.asyncio import Redis

from jobcast.shared import logs
from jobcast.shared.redis import unavailable
from jobcast.worker.breaker import Guard, Outcome
from jobcast.worker.ended import Ends
from jobcast.worker.queues import QueueDefinition
from jobcast.worker.supervise import supervise, wait_for_event
from jobcast.worker.taken import TakenJob

LONGEST_BLOCK: Final = 10.0
"""Seconds of one blocking wait, well below the connection's read time-out."""
SHORTEST_BLOCK: Final = 0.002
MOST_STALLS: Final = 1
"""How often a job may lose its worker before BullMQ has it fail: one that kills its workers must not go on."""
SCHEDULE_TRIES: Final = 3
CIRCUIT_LOOK: Final = 0.5
"""Seconds between two looks, at most, whether a circuit that is not closed lets a job through."""

Execute = Callable[[TakenJob], Awaitable["asyncio.Future[Any] | None"]]
"""Runs a job to its recorded end; never raises. Gives back what still holds the job's slot, a stuck thread say."""

_log = logs.get("consumer")


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. A lock lives ``lock`` and is renewed every ``renew``; an idle worker looks every ``idle``."""

    lock: float = 30.0
    renew: float = 10.0
    stalled_check: float = 30.0
    idle: float = 5.0


class Consumer:
    """Takes jobs of one queue, at most ``definition.concurrency`` at once, and hands each to ``execute``."""

    def __init__(  # noqa: PLR0913  what one queue is worked with
        self,
        client: Redis,
        definition: QueueDefinition,
        execute: Execute,
        *,
        prefix: str = "bull",
        timing: Timing | None = None,
        guard: Guard | None = None,
    ) -> None:
        self.definition = definition
        self._guard = guard
        self.ready = asyncio.Event()
        self._timing = timing or Timing()
        self._execute = execute
        self._worker = self._lend(client, prefix)
        self._tokens = itertools.count(1)
        self._slots = asyncio.Semaphore(definition.concurrency)
        self._active: dict[str, TakenJob] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._no_more = asyncio.Event()
        self._over = asyncio.Event()
        self._drained = False
        self._due = 0

    def _lend(self, client: Redis, prefix: str) -> Any:
        limiter = self.definition.limiter
        options: dict[str, Any] = {
            "connection": client,
            "prefix": prefix,
            "autorun": False,
            "lockDuration": round(self._timing.lock * 1000),
        }
        if limiter is not None:
            options["limiter"] = {"max": limiter.count, "duration": limiter.duration}
        return Worker(self.definition.name, None, options)

    async def run(self) -> None:
        """Work until :meth:`stop_taking` and :meth:`close`; Redis being away is waited out."""
        queue = self.definition.name
        async with asyncio.TaskGroup() as group:
            group.create_task(supervise(f"take {queue}", self._take_one, self._no_more))
            group.create_task(supervise(f"renew {queue}", self._renew, self._over))
            group.create_task(supervise(f"stalled {queue}", self._check_stalled, self._over))

    def stop_taking(self) -> None:
        """Take no further job; those in hand go on and keep their locks."""
        self._no_more.set()

    @property
    def ends(self) -> Ends:
        """What BullMQ says of this queue's jobs that are over."""
        return Ends(self._worker.backend, lambda data, job_id: self._read(data, job_id, token=""))

    @property
    def busy(self) -> set["asyncio.Task[None]"]:
        """The jobs in hand whose end is not recorded yet."""
        return set(self._tasks)

    def close(self) -> None:
        """End the loops. Jobs still in hand are left to the stalled check of another worker."""
        self._no_more.set()
        self._over.set()
        for task in self._tasks:
            task.cancel()

    async def _connect(self) -> None:
        """Ask for the server's version: until then BullMQ rounds every wait up to whole seconds."""
        backend = self._worker.backend
        with unavailable():
            for connection in (backend.connection, backend.blocking_connection):
                await connection.getRedisVersion()
        self.ready.set()

    async def _take_one(self) -> None:
        """One round: a free slot, a job, a task for it."""
        if not self.ready.is_set():
            await self._connect()
        if self._slots.locked():
            if not await self._unless_stopped(self._slots.acquire()):
                return
        else:
            await self._slots.acquire()
        job = None
        try:
            job = await self._take()
        finally:
            if job is None:
                self._slots.release()
        if job is not None:
            self._start(job)

    async def _take(self) -> TakenJob | None:
        """A job, or None after having waited for one: for the marker, a delay or the rate limit."""
        if self._drained and not await self._wait_for_marker():
            return None
        token = f"{self._worker.id}:{next(self._tokens)}"
        if self._guard is None:
            return await self._take_as(token)
        entry = await self._guard.enter(token)
        if not entry.may_take:
            self._drained = False  # the marker may be used up: what waits must be looked for without one
            await wait_for_event(self._no_more, min(entry.wait, CIRCUIT_LOOK))
            return None
        job = None
        try:
            job = await self._take_as(token)
        finally:
            if job is None and entry.probe:
                await self._guard.report(token, "none")
        return job

    async def _take_as(self, token: str) -> TakenJob | None:
        with unavailable():
            data, job_id, limited, due = await self._worker.backend.moveToActive(token, self._worker.opts)
        self._drained = not data
        self._due = int(due or 0)
        if data:
            return self._read(data, job_id, token)
        if limited and limited > 0:
            # Asking again once the limit is over is what keeps its rate; waiting for a marker would starve it.
            self._drained = False
            await wait_for_event(self._no_more, limited / 1000)
        return None

    def _read(self, data: dict[str, str], job_id: str, token: str) -> TakenJob:
        try:
            raw = Job.fromJSON(self._worker, data, job_id)
        except (ValueError, TypeError, AttributeError) as error:
            # Dropped here it would stay active without a worker, stall, come back, and so for ever.
            raw = Job(self._worker, str(data.get("name")), None, {}, job_id)
            raw.attemptsStarted = int(data.get("ats") or 1)
            raw.deferredFailure = f"the job's record cannot be read: {error}"
        return TakenJob(raw, self._worker.backend, self.definition, token, lock=round(self._timing.lock * 1000))

    async def _wait_for_marker(self) -> bool:
        """Block until BullMQ says that there may be a job, or the next delayed one is due. True: look now."""
        ahead = (self._due - time.time() * 1000) / 1000
        block = min(max(ahead, SHORTEST_BLOCK), LONGEST_BLOCK) if self._due else self._timing.idle
        with unavailable():
            found = await self._unless_stopped(self._worker.backend.waitForJob(block))
            if self._no_more.is_set():
                # The marker may have come with the answer nobody waits for: without it the next worker sleeps on.
                await self._worker.backend.conn.zadd(self._worker.backend.keys["marker"], {"0": 0})
                return False
        self._due = int(float(found[2])) if found else 0
        return self._due <= time.time() * 1000

    async def _unless_stopped(self, waiting: Awaitable[Any]) -> Any:
        """The answer, or None once no more jobs are to be taken."""
        task = asyncio.ensure_future(waiting)
        stop = asyncio.create_task(self._no_more.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            for each in (task, stop):
                each.cancel()
            await asyncio.wait({task, stop})

    def _start(self, job: TakenJob) -> None:
        task = asyncio.create_task(self._serve(job), name=f"job {job.id}")
        self._active[job.token] = job
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, job: TakenJob) -> None:
        lingering = None
        try:
            if self._no_more.is_set():
                await job.put_back()
                return
            if job.raw.repeatJobKey:
                await self._advance_schedule(job)
            lingering = await self._execute(job)
        except Exception as error:  # noqa: BLE001  whatever one job does, the next is taken
            _log.exception("a job was left to the stalled check", job_id=job.id, queue=job.queue, error=repr(error))
        finally:
            try:
                await self._report(job)
            finally:
                del self._active[job.token]
                if lingering is None or lingering.done():
                    self._slots.release()
                else:
                    lingering.add_done_callback(lambda _: self._slots.release())

    async def _report(self, job: TakenJob) -> None:
        if self._guard is None:
            return
        kind, error = job.verdict or ("", "")
        breaker = self.definition.breaker
        counts = breaker is not None and kind not in breaker.not_counted
        outcome: Outcome = "none" if job.verdict is None or not counts else "failure" if kind else "success"
        await self._guard.report(job.token, outcome, f"job {job.id}: {error}" if error else "")

    async def _advance_schedule(self, job: TakenJob) -> None:
        """Have the scheduler that made this job make its next one. Nobody else does: without it the schedule ends."""
        raw = job.raw
        for last in (False,) * (SCHEDULE_TRIES - 1) + (True,):
            try:
                await self._worker.jobScheduler.upsertJobScheduler(
                    raw.repeatJobKey, job.opts.get("repeat"), raw.name, raw.data, raw.opts,
                    override=False, producer_id=raw.id,
                )  # fmt: skip
                return
            except Exception as error:  # noqa: BLE001  cron text and Redis fail in their own ways; the job runs on
                if last:
                    _log.exception("a schedule did not go on", schedule=raw.repeatJobKey, error=repr(error))
                    return
                await wait_for_event(self._over, 0.5)

    async def _renew(self) -> None:
        """One round trip for all locks; a job whose lock is gone is told so."""
        if await wait_for_event(self._over, self._timing.renew):
            return
        held = {job.id: job for job in self._active.values()}
        if not held:
            return
        with unavailable():
            lost = await self._worker.backend.extendLocks(
                list(held), [job.token for job in held.values()], round(self._timing.lock * 1000)
            )
        for job_id in lost or ():
            held[job_id].lose()
        if self._guard is not None:
            await self._guard.hold()

    async def _check_stalled(self) -> None:
        """Give back to the queue what other workers took and no longer hold."""
        if self.ready.is_set():
            with unavailable():
                stalled = await self._worker.backend.moveStalledJobsToWait(
                    MOST_STALLS, round(self._timing.stalled_check * 1000)
                )
            if stalled:
                _log.warning("jobs lost their worker", queue=self.definition.name, job_ids=stalled)
        await wait_for_event(self._over, self._timing.stalled_check if self.ready.is_set() else 0.2)
