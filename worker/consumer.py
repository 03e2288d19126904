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
from jobcast.shared.clock import now_ms
from jobcast.shared.redis import unavailable
from jobcast.shared.schedules import Schedules
from jobcast.shared.throughput import MINUTES_COUNTED
from jobcast.worker.ended import Ends
from jobcast.worker.queues import QueueDefinition
from jobcast.worker.supervise import supervise, wait_for_event
from jobcast.worker.taken import TakenJob

LONGEST_BLOCK: Final = 10.0
"""Seconds of one blocking wait, well below the connection's read time-out."""
SHORTEST_BLOCK: Final = 0.002

Execute = Callable[[TakenJob], Awaitable["asyncio.Future[Any] | None"]]
"""Runs a job to its recorded end; never raises. Gives back what still holds the job's slot, a stuck thread say."""

_log = logs.get("consumer")


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. A lock lives ``lock`` and is renewed every ``renew``; an idle worker looks every ``idle``.

    A job whose worker died is given to another within ``lock`` and ``stalled_check`` together: 19 s. Not much less: a
    lock must outlast the 8 s that pass until its job is told as stalled, or the next attempt would begin before.
    """

    lock: float = 15.0
    renew: float = 2.0
    stalled_check: float = 4.0
    idle: float = 5.0


class Consumer:
    """Takes jobs of one queue, at most ``definition.concurrency`` at once, and hands each to ``execute``."""

    def __init__(  # noqa: PLR0913  what it stands on
        self,
        client: Redis,
        definition: QueueDefinition,
        execute: Execute,
        *,
        prefix: str = "bull",
        timing: Timing | None = None,
        schedules: Schedules | None = None,
    ) -> None:
        self.definition = definition
        self.may_judge: Callable[[], bool] = lambda: True
        """Whether a lock that is gone tells of a death, and not of a time in which everything stood still."""
        self._schedules = schedules
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
            "metrics": {"maxDataPoints": MINUTES_COUNTED},
        }
        if limiter is not None:
            options["limiter"] = {"max": limiter.count, "duration": limiter.duration}
        return Worker(self.definition.name, None, options)

    async def run(self) -> None:
        """Work until :meth:`stop_taking` and :meth:`close`; Redis being away is waited out."""
        queue = self.definition.name
        async with asyncio.TaskGroup() as group:
            group.create_task(supervise(f"take {queue}", self._take_one, self._no_more))
            group.create_task(supervise(f"stalled {queue}", self._check_stalled, self._over))

    def stop_taking(self) -> None:
        """Take no further job; those in hand go on and keep their locks."""
        self._no_more.set()

    @property
    def ends(self) -> Ends:
        """What BullMQ says of this queue's jobs that are over."""
        return Ends(self._worker.backend, lambda data, job_id: self._read(data, job_id, token=""))

    @property
    def queue(self) -> str:
        return self.definition.name

    @property
    def base(self) -> str:
        """How BullMQ's keys of the queue begin."""
        return str(self._worker.backend.toKey(""))

    @property
    def lock(self) -> int:
        """For how many ms a job is ours, each time its lock is renewed: see ``heartbeat``."""
        return round(self._timing.lock * 1000)

    def held(self) -> list[TakenJob]:
        """The jobs whose locks are to be kept; may be asked from another thread."""
        return list(self._active.copy().values())

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
        backend, token = self._worker.backend, f"{self._worker.id}:{next(self._tokens)}"
        with unavailable():
            data, job_id, limited, due = await backend.moveToActive(token, self._worker.opts)
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
            del self._active[job.token]
            if lingering is None or lingering.done():
                self._slots.release()
            else:
                lingering.add_done_callback(lambda _: self._slots.release())

    async def _advance_schedule(self, job: TakenJob) -> None:
        """Make the next run of the schedule that made this job: nobody else does, until a look finds it standing.

        ``Schedules.mend`` makes it where this fails, or where the worker dies before.
        """
        if self._schedules is None:
            return
        try:
            await self._schedules.advance(job.queue, job.raw)
        except Exception as error:  # noqa: BLE001  cron text and Redis fail in their own ways; the job runs on
            _log.warning("a schedule was not gone on with yet", schedule=job.raw.repeatJobKey, error=repr(error))

    async def _check_stalled(self) -> None:
        """Give back to the queue what other workers took and no longer hold.

        Not after Redis or this machine stood still: every lock has run out then, and those who live need a moment to
        take theirs again.
        """
        if self.ready.is_set() and self.may_judge():
            scripts = self._worker.backend.scripts
            keys = scripts.getKeys(
                ["stalled", "wait", "active", "stalled-check", "meta", "paused", "marker", "events", "repeat"]
            )
            # The key that spares a check to others who just made one is ours alone: Node's workers hold theirs for
            # 30 s, in which no death would be seen to. BullMQ's ids hold no colon, so that it cannot be a job's.
            keys[3] += ":jobcast"
            spare = round(self._timing.stalled_check * 800)
            with unavailable():
                stalled = await scripts.commands["moveStalledJobsToWait"](
                    keys, [self.definition.max_stalled_count, scripts.keys[""], now_ms(), spare]
                )
            if stalled:
                _log.warning("jobs lost their worker", queue=self.definition.name, job_ids=stalled)
            await wait_for_event(self._over, self._timing.stalled_check)
        else:
            await wait_for_event(self._over, 0.2)
