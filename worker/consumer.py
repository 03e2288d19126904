"""BullMQ's consumer side behind one adapter.

``bullmq.Worker`` lends its Redis scripts; its own loop does not run. That loop ends in silence when Redis is away at
the start, dies of a ``CancelledError``, starves under a rate limit, rounds delays up to whole seconds, and loses what
its event listeners raise. Here the loop is ours: take, run, renew, look for stalled jobs, each supervised.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis

from jobcast.shared import logs
from jobcast.shared.schedules import Schedules
from jobcast.shared.supervise import supervise, wait_for_event
from jobcast.worker.breaker import Guard
from jobcast.worker.ended import Ends
from jobcast.worker.queues import QueueDefinition
from jobcast.worker.slots import Governor, Slots
from jobcast.worker.stalled import ALWAYS, give_back
from jobcast.worker.taken import TakenJob
from jobcast.worker.taker import Taker

SCHEDULE_TRIES: Final = 3
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
    """Takes jobs of one queue, as many at once as its definition says, and hands each to ``execute``."""

    def __init__(  # noqa: PLR0913  what one queue is worked with
        self,
        client: Redis,
        definition: QueueDefinition,
        execute: Execute,
        *,
        prefix: str = "bull",
        timing: Timing | None = None,
        guard: Guard | None = None,
        schedules: Schedules | None = None,
    ) -> None:
        self.definition = definition
        self.calm_at: Callable[[], int | None] = lambda: ALWAYS
        """When, by Redis' clock in ms, a lock that is gone last told of a death and not of a standstill."""
        self._schedules = schedules
        self.ready = asyncio.Event()
        self._timing = timing or Timing()
        self._execute = execute
        self._slots = Slots(definition.concurrency)
        self._active: set[TakenJob] = set()
        self._passed_on: set[TakenJob] = set()
        """Those of them whose slot has gone to the next job."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._no_more = asyncio.Event()
        self._over = asyncio.Event()
        self._guard = guard
        lock, idle = self._timing.lock, self._timing.idle
        self._taker = Taker(client, definition, self._no_more, prefix=prefix, lock=lock, idle=idle, guard=guard)
        self._worker = self._taker.worker

    async def run(self) -> None:
        """Work until :meth:`stop_taking` and :meth:`close`; Redis being away is waited out."""
        queue = self.definition.name
        async with asyncio.TaskGroup() as group:
            group.create_task(supervise(f"take {queue}", self._take_one, self._no_more))
            group.create_task(supervise(f"stalled {queue}", self._check_stalled, self._over))
            if self._guard is not None:
                group.create_task(supervise(f"probe {queue}", self._hold_probe, self._over))
            if self.definition.max_concurrency is not None:
                least, most = self.definition.concurrency, self.definition.max_concurrency
                governor = Governor(queue, self._slots, least, most)
                group.create_task(supervise(f"slots {queue}", lambda: governor.look(self._over), self._over))

    def stop_taking(self) -> None:
        """Take no further job; those in hand go on and keep their locks."""
        self._no_more.set()

    @property
    def ends(self) -> Ends:
        """What BullMQ says of this queue's jobs that are over."""
        return Ends(self._worker.backend, lambda data, job_id: self._taker.read(data, job_id, token=""))

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
        return list(self._active.copy())

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

    async def _take_one(self) -> None:
        """One round: a free slot, a job, a task for it."""
        if not self.ready.is_set():
            await self._taker.connect()
            self.ready.set()
        if self._slots.full:
            await self._taker.unless_stopped(self._slots.room())
            if self._no_more.is_set():
                return
        job = await self._taker.take()
        if job is not None:
            self._slots.take()
            self._start(job)

    async def _hold_probe(self) -> None:
        if self._guard is not None and not await wait_for_event(self._over, self._timing.renew):
            await self._guard.hold()

    def _brings_next(self) -> bool:
        return self._taker.brings_next() and not self._slots.over

    def _pass_on(self, job: TakenJob, data: dict[str, str], job_id: str) -> None:
        """Begin with the job that came with the end of this one, in its slot; what is still to be told of it goes on.

        It saves the round trip, and Redis the script, that a take of its own would cost.
        """
        if job in self._passed_on:
            return
        try:
            brought = self._taker.read(data, job_id, job.token)
        except Exception as error:  # noqa: BLE001  the end of this job is to be told, whatever the next one is
            _log.exception("a job was left to the stalled check", job_id=job_id, queue=job.queue, error=repr(error))
            return
        self._passed_on.add(job)
        self._start(brought)

    def _start(self, job: TakenJob) -> None:
        job.wants_next, job.on_next = self._brings_next, self._pass_on
        task = asyncio.create_task(self._serve(job), name=f"job {job.id}")
        self._active.add(job)
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
                await self._taker.report(job)
            finally:
                self._let_go(job, lingering)

    def _let_go(self, job: TakenJob, lingering: "asyncio.Future[Any] | None") -> None:
        self._active.discard(job)
        if job in self._passed_on:
            self._passed_on.discard(job)
        elif lingering is None or lingering.done():
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
        calm_at = self.calm_at() if self.ready.is_set() else None
        if calm_at is not None:
            spare = round(self._timing.stalled_check * 800)
            stalled = await give_back(self._worker.backend, self.definition.max_stalled_count, spare, calm_at)
            if stalled:
                _log.warning("jobs lost their worker", queue=self.definition.name, job_ids=stalled)
            await wait_for_event(self._over, self._timing.stalled_check)
        else:
            await wait_for_event(self._over, 0.2)
