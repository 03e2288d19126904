"""Schedules over BullMQ's job schedulers, which Node's bullmq and Bull Board see, run and change as their own.

BullMQ keeps one waiting job per schedule, its next run; whoever takes it makes the following one. The chain ends where
nobody does: a worker died or Redis was away in that moment, the waiting job was removed by hand, a clock was set back
after the job was made. :meth:`Schedules.mend`, which every worker calls now and then, goes on with it. After hours
without a worker the run that waited is made once, and the next at the next time of the schedule.

Each job made is announced in the journal by whoever made it, so that watchers of the queue see it as delayed. A worker
of Node's announces nothing: its job is seen once it is taken.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from bullmq import Job

from jobcast.shared import logs
from jobcast.shared.clock import now_ms
from jobcast.shared.errors import BadRequest, NotPossible, Unavailable
from jobcast.shared.keys import Keys
from jobcast.shared.names import check_queue_name
from jobcast.shared.planned import Planned, read_planned
from jobcast.shared.queue import JobQueues
from jobcast.shared.redis import unavailable
from jobcast.shared.schedule import Schedule, next_run, next_slot

PAGE: Final = 100
"""Schedules that one look at a queue may take in; the next look goes on behind them."""
MOST_LISTED: Final = 1000
CLOCKS_APART: Final = 60_000
"""Milliseconds by which the clocks of two machines may differ; what is made further ahead was made by a wrong one."""
LOCK_MS: Final = 5_000
LOCK_PATIENCE: Final = 10.0
LONGEST_ID: Final = 200
_HELD_FROM_THE_BEGINNING: Final = frozenset({"priority", "removeOnComplete", "removeOnFail"})

_log = logs.get("schedules")


class Schedules:
    """The schedules of all queues. Every method raises ``Unavailable`` when Redis is away."""

    def __init__(self, queues: JobQueues, keys: Keys | None = None) -> None:
        self._queues = queues
        self._keys = keys or Keys()
        self._looked: dict[str, int] = {}

    async def upsert(self, schedule: Schedule) -> bool:
        """Make the schedule, or put it in the place of the one of that id; False when it is there as it stands.

        One that has made its last run (``limit``, ``endDate``) and is there as it stands is not begun anew; other terms
        begin anew. A changed template alone leaves the times and the count as they are.

        Raises:
            BadRequest, BadQueueName: it cannot be.
            NotPossible: BullMQ still holds jobs of an earlier schedule of that id in the times to come.
        """
        told = schedule.checked().repeat.for_bullmq()
        opts = {**await self._defaults(schedule), **schedule.opts.for_bullmq(now_ms())}
        with unavailable():
            handle = await self._queues.handle(schedule.queue)
            async with self._alone(handle, schedule.queue, schedule.id):
                old = await self._find(handle, schedule.id)
                if old is not None and old.says(schedule.name, told, schedule.data, opts):
                    if not old.is_over and not old.pending:
                        await self._advance(handle, old)
                    return False
                await self._put(handle, schedule, told, opts, old)
        return True

    async def _defaults(self, schedule: Schedule) -> dict[str, Any]:
        """What its queue says of jobs that say nothing, as far as a job must hold it from the beginning.

        Attempts and back-off are left to the worker, which goes by the definition in force when the job is run.
        """
        names = _HELD_FROM_THE_BEGINNING if not schedule.opts.lifo else _HELD_FROM_THE_BEGINNING - {"priority"}
        defaults = await self._queues.defaults(schedule.queue)
        return {name: value for name, value in defaults.items() if name in names}

    async def listed(self, queue: str, limit: int = MOST_LISTED) -> list[Planned]:
        """The queue's schedules, the one to run next first."""
        check_queue_name(queue)
        with unavailable():
            handle = await self._queues.handle(queue)
            return await self._page(handle, 0, min(limit, MOST_LISTED))

    async def get(self, queue: str, schedule_id: str) -> Planned | None:
        check_queue_name(queue)
        with unavailable():
            return await self._find(await self._queues.handle(queue), _check_any_id(schedule_id))

    async def remove(self, queue: str, schedule_id: str) -> bool:
        """End the schedule and cancel its waiting job; one that runs is left to run. False when it was not there."""
        check_queue_name(queue)
        _check_any_id(schedule_id)
        with unavailable():
            handle = await self._queues.handle(queue)
            async with self._alone(handle, queue, schedule_id):
                return await self._remove(handle, schedule_id)

    async def advance(self, queue: str, job: Any) -> None:
        """Make the run after that of ``job`` (BullMQ's object), which a worker has taken. Twice is once.

        Raises:
            CroniterError, KeyError: its cron text or zone, which another program wrote, cannot be read here.
        """
        repeat = job.opts.get("repeat")
        if isinstance(repeat, dict):
            with unavailable():
                handle = await self._queues.handle(queue)
                await self._make_next(handle, job.repeatJobKey, job.id, repeat, job)

    async def mend(self, queue: str) -> int:
        """Go on with schedules that stand still, of the next ``PAGE`` of the queue; returns with how many it did."""
        with unavailable():
            handle = await self._queues.handle(queue)
            start = self._looked.get(queue, 0)
            page = await self._page(handle, start, PAGE)
            self._looked[queue] = start + PAGE if len(page) == PAGE else 0
            mended = 0
            for each in page:
                try:
                    with unavailable():
                        mended += await self._mend(handle, each)
                except Unavailable:
                    raise
                except Exception as error:  # noqa: BLE001  what other programs wrote; one must not stop the others
                    _log.warning("a schedule cannot go on", queue=queue, schedule=each.id, error=repr(error))
        return mended

    async def _mend(self, handle: Any, planned: Planned) -> bool:
        if planned.pending:
            latest = planned.made_at - CLOCKS_APART
            if latest <= now_ms() or latest <= await _redis_now(handle):
                return False
            planned = await self._set_back(handle, planned)
        elif planned.is_over:
            return False
        made = await self._advance(handle, planned)
        if made:
            _log.warning("a schedule stood still and goes on", queue=handle.name, schedule=planned.id)
        return made

    async def _set_back(self, handle: Any, planned: Planned) -> Planned:
        """Take back a run made while a clock was ahead: it would wait until the time that clock showed.

        BullMQ lets go of a run only once it is no longer the schedule's next. Cut off between the two, the schedule
        goes on all the same, and the run is one too many, then.
        """
        moved = planned.moved_to(now_ms())
        await handle.client.zadd(handle.toKey("repeat"), {planned.id: moved.next}, xx=True, lt=True)
        if int(await handle.backend.remove(planned.job_id, True)) == 1:
            await self._queues.tell_withdrawn(planned.job_id, "the clock was set back; the schedule is reckoned anew")
        return moved

    async def _advance(self, handle: Any, planned: Planned) -> bool:
        """Make the next run as the worker that took the last one would have."""
        return await self._make_next(handle, planned.id, planned.job_id, planned.for_bullmq(), planned)

    async def _make_next(self, handle: Any, schedule_id: str, job_id: str, repeat: dict[str, Any], like: Any) -> bool:
        """False when it is made already, or is not to be. ``like`` has the name, data and opts of the run before."""
        if repeat.get("every") and next_slot(_slot(job_id), now_ms(), repeat) is None:
            return False
        made = await _scheduler(handle).upsertJobScheduler(
            schedule_id, repeat, like.name, like.data, like.opts, override=False, producer_id=job_id
        )
        if made is not None:
            await self._announce(handle, made.id)
        return made is not None

    async def _put(
        self, handle: Any, schedule: Schedule, told: dict[str, Any], opts: dict[str, Any], old: Planned | None
    ) -> None:
        repeat = dict(told)
        if old is not None and old.repeats(told) and not old.is_over:
            repeat["count"] = old.ran
        elif old is not None:
            if old.keeps_time(told):
                await self._remove(handle, schedule.id)
            await handle.client.hdel(handle.toKey(f"repeat:{schedule.id}"), "ic")  # else it counts for the new terms
        try:
            made = await _scheduler(handle).upsertJobScheduler(schedule.id, repeat, schedule.name, schedule.data, opts)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            if "job scheduler iteration" in str(error):  # BullMQ's words for a time that is taken
                raise NotPossible(
                    f"schedule {schedule.id} cannot begin: jobs of an earlier one hold its next times"
                ) from error
            raise BadRequest(f"the schedule's data cannot be written as JSON: {error}") from error
        if made is None:
            raise BadRequest(f"schedule {schedule.id} would never run: its end comes before its first time")
        if old is not None and old.pending and old.job_id != made.id:
            await self._queues.tell_withdrawn(old.job_id, "the schedule was changed")
        await self._announce(handle, made.id)

    async def _remove(self, handle: Any, schedule_id: str) -> bool:
        old = await self._find(handle, schedule_id)
        there = int(await handle.removeJobScheduler(schedule_id)) == 0
        if old is not None and old.pending:
            # BullMQ's script takes it along only while it is delayed, not where it is due and waits.
            gone = not await handle.client.exists(handle.toKey(old.job_id))
            if gone or int(await handle.backend.remove(old.job_id, True)) == 1:
                await self._queues.tell_withdrawn(old.job_id, "the schedule was removed")
        return there

    async def _announce(self, handle: Any, job_id: str) -> None:
        job = await Job.fromId(handle, job_id)
        if job is not None:
            await self._queues.announce(handle.name, job)

    async def _find(self, handle: Any, schedule_id: str) -> Planned | None:
        score = await handle.client.zscore(handle.toKey("repeat"), schedule_id)
        found = [] if score is None else await self._read(handle, [(schedule_id, score)])
        return found[0] if found else None

    async def _page(self, handle: Any, start: int, count: int) -> list[Planned]:
        key = handle.toKey("repeat")
        return await self._read(handle, await handle.client.zrange(key, start, start + count - 1, withscores=True))

    async def _read(self, handle: Any, scores: list[tuple[str, float]]) -> list[Planned]:
        if not scores:
            return []
        async with handle.client.pipeline(transaction=False) as pipe:
            for schedule_id, score in scores:
                pipe.hgetall(handle.toKey(f"repeat:{schedule_id}"))
                pipe.hmget(handle.toKey(f"repeat:{schedule_id}:{int(score)}"), "timestamp", "processedOn")
            found = await pipe.execute()
        records: list[Mapping[str, str]] = found[::2]
        return [
            read_planned(handle.name, schedule_id, int(score), record, waits)
            for (schedule_id, score), record, waits in zip(scores, records, found[1::2], strict=True)
            if record
        ]

    @asynccontextmanager
    async def _alone(self, handle: Any, queue: str, schedule_id: str) -> AsyncIterator[None]:
        """One at a time: of two workers that start together, the second finds what the first has made."""
        key, mine = self._keys.schedule_lock(queue, schedule_id), uuid.uuid4().hex
        deadline = asyncio.get_running_loop().time() + LOCK_PATIENCE
        while not await handle.client.set(key, mine, nx=True, px=LOCK_MS):
            if asyncio.get_running_loop().time() > deadline:
                raise Unavailable(f"schedule {schedule_id} is being changed by another; try again")
            await asyncio.sleep(0.05)
        try:
            yield
        finally:
            if await handle.client.get(key) == mine:
                await handle.client.delete(key)


def _scheduler(handle: Any) -> Any:
    scheduler = handle.jobScheduler
    scheduler.repeat_strategy = next_run
    return scheduler


def _slot(job_id: str) -> int:
    """The time a run was made for, by its id ``repeat:<id>:<time>``."""
    time = job_id.rpartition(":")[2]
    return int(time) if time.isdecimal() else 0


async def _redis_now(handle: Any) -> int:
    seconds, micros = await handle.client.time()
    return int(seconds) * 1000 + int(micros) // 1000


def _check_any_id(value: object) -> str:
    """An id to be looked for: also one that another program chose by rules of its own."""
    if isinstance(value, str) and 0 < len(value) <= LONGEST_ID and value.isprintable():
        return value
    raise BadRequest(f"expected a schedule's id of 1 to {LONGEST_ID} printable characters")
