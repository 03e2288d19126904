"""A worker: wiring, start, and an end with a deadline."""

import asyncio
import os
import re
import secrets
import socket
from collections.abc import Callable
from dataclasses import asdict
from typing import Final, NamedTuple

from jobcast.shared import logs
from jobcast.shared.dead_letters import DeadLetters
from jobcast.shared.definitions import Definitions
from jobcast.shared.errors import BadSettings
from jobcast.shared.heartbeats import Heartbeats
from jobcast.shared.journal.contract import Journal, Life
from jobcast.shared.journal.redis import RedisJournal
from jobcast.shared.keys import Keys
from jobcast.shared.parents import Parents
from jobcast.shared.queue import JobQueues
from jobcast.shared.redis import connect, connect_for_bullmq, without_secrets
from jobcast.shared.schedules import Schedules
from jobcast.shared.settings import Settings
from jobcast.shared.supervise import supervise, wait_for_event
from jobcast.shared.vigil import Timing as Watching
from jobcast.shared.vigil import Vigil
from jobcast.shared.watchman import Watchman
from jobcast.worker import calendar, reconciler
from jobcast.worker.amends import Amends, Repairs
from jobcast.worker.breaker import Guard
from jobcast.worker.cache import Cache
from jobcast.worker.calendar import Calendar
from jobcast.worker.consumer import Consumer, Timing
from jobcast.worker.context import Means
from jobcast.worker.dead_letters import Burial
from jobcast.worker.definitions import tell, words
from jobcast.worker.ending import close, finished
from jobcast.worker.family import Family
from jobcast.worker.heartbeat import Heart
from jobcast.worker.locks import Locks
from jobcast.worker.producer import Producer
from jobcast.worker.queues import QueueDefinition
from jobcast.worker.reconciler import Reconciler
from jobcast.worker.registry import Registry
from jobcast.worker.runner import Runner
from jobcast.worker.strangers import Strangers
from jobcast.worker.streams import Streams

CANCEL_CHECK: Final = 1.0
"""Seconds between two looks, for all jobs at once, for requests to cancel."""
PUT_BACK: Final = 5.0
"""Seconds for what is stopped at the drain's end to be put back and recorded; a handler has ``STOP_WAIT`` of them."""

_log = logs.get("worker")


class _Alive(NamedTuple):
    """How others hear of this worker, it of them, what it does unasked, and what its jobs keep from others."""

    heart: Heart
    vigil: Vigil
    watchman: Watchman
    burial: Burial
    timetable: Calendar
    locks: Locks
    family: Family
    strangers: Strangers


class Service:
    """One worker process: a consumer for each queue that has handlers, one runner for all."""

    def __init__(  # noqa: PLR0913  its paces, for tests to quicken
        self,
        settings: Settings,
        registry: Registry,
        *,
        timing: Timing | None = None,
        reconciling: reconciler.Timing | None = None,
        watching: Watching | None = None,
        mending: float = calendar.MEND_EVERY,
    ) -> None:
        if not registry.queues():
            raise BadSettings("there is nothing to work for: no module declares a handler")
        self._settings = settings
        self._registry = registry
        self._timing = timing or Timing()
        # A lock that was renewed cannot run out between two looks that are so near each other.
        self._watching = watching or Watching(gap=self._timing.lock / 2)
        self._reconciling = reconciling or reconciler.Timing()
        self._mending = mending
        self._repairs = Repairs()
        self._stop = asyncio.Event()
        self._at_once = asyncio.Event()

    def stop(self) -> None:
        """Finish what is in hand and end; asked a second time, put it back and end at once."""
        if self._stop.is_set():
            self._at_once.set()
        self._stop.set()

    async def serve(self, on_ready: Callable[[], None] | None = None) -> None:
        """Work until :meth:`stop`."""
        settings, queues = self._settings, self._registry.queues()
        definitions = [
            self._registry.definition(name, QueueDefinition(name, concurrency=settings.concurrency)) for name in queues
        ]
        # Each queue holds one connection in its blocking wait for as long as it is idle.
        client = connect_for_bullmq(
            settings.redis_url, name="jobcast-worker", connections=2 * len(queues) + 16, joined=True
        )
        commands = connect(settings.redis_url, name="jobcast-journal", connections=16, joined=True)
        keys, prefix = Keys(settings.key_prefix), settings.bullmq_prefix
        journal = RedisJournal(commands, keys, Life(settings.history, round(settings.life * 1000)))
        vigil = Vigil(Heartbeats(commands, keys), journal, self._watching)
        worker = _unique_name()
        job_queues = JobQueues(client, journal, prefix=prefix, keys=keys)
        burial, schedules = Burial(DeadLetters(job_queues, journal)), Schedules(job_queues, keys)
        locks = Locks(commands)
        family = Family(Parents(client, journal, prefix=prefix, keys=keys))
        streams, amends = Streams(commands, keys, prefix), Amends(journal, self._repairs, burial, family)
        others = Strangers(streams, journal, job_queues, definitions, amends)
        runner = Runner(
            journal,
            self._registry,
            worker=worker,
            timeout=settings.job_timeout,
            means=Means(locks, Producer(job_queues, journal, keys), Cache(commands, keys)),
            burial=burial,
            family=family,
        )
        consumers = [
            Consumer(
                client,
                each,
                runner.run,
                prefix=prefix,
                timing=self._timing,
                guard=Guard(commands, keys, each.name, each.breaker, self._timing.lock) if each.breaker else None,
                schedules=schedules,
            )
            for each in definitions
        ]
        for consumer in consumers:
            consumer.calm_at = vigil.calm_at
        self._say_start(definitions)
        said = words(definitions, self._registry, settings.job_timeout)
        telling = asyncio.create_task(tell(Definitions(commands, keys), said, worker), name="tell definitions")
        timetable = Calendar(schedules, self._registry.schedules(), queues, telling=telling, every=self._mending)
        try:
            watchman = Watchman(settings, job_queues, commands, journal)
            with Heart(settings.redis_url, keys, worker, consumers, every=self._timing.renew) as heart:
                alive = _Alive(heart, vigil, watchman, burial, timetable, locks, family, others)
                await self._work(consumers, journal, runner, on_ready, alive)
        finally:
            telling.cancel()
            await family.close()
            await close(client, commands)
        _log.info(
            "worker ended",
            refused=runner.counts.refused,
            unrecorded=runner.counts.unrecorded,
            repairs=asdict(self._repairs),
            stalled_told=vigil.told,
        )

    async def _work(
        self,
        consumers: list[Consumer],
        journal: Journal,
        runner: Runner,
        on_ready: Callable[[], None] | None,
        alive: "_Alive",
    ) -> None:
        heart, vigil, over = alive.heart, alive.vigil, asyncio.Event()

        async def look_for_cancels() -> None:
            if not await wait_for_event(over, CANCEL_CHECK):
                await runner.look_for_cancels()
                if heart.in_doubt:
                    await runner.speak_up()

        async def work(consumer: Consumer) -> None:
            await heart.began.wait()
            await consumer.run()

        async with asyncio.TaskGroup() as group:
            for consumer in consumers:
                group.create_task(work(consumer))
            group.create_task(vigil.run())
            group.create_task(alive.locks.run())
            group.create_task(supervise("look for cancels", look_for_cancels, over))
            looks = [group.create_task(self._reconcile(each, journal, alive, over)) for each in consumers]
            group.create_task(alive.watchman.run(over))
            looks.append(group.create_task(alive.timetable.keep()))
            looks.append(group.create_task(alive.strangers.keep(over)))
            ready = group.create_task(_say_ready(consumers, on_ready))
            await self._stop.wait()
            for task in (ready, *looks):
                task.cancel()
            heart.began.set()  # one that never began must not be waited for
            await self._drain(consumers, runner)
            vigil.stop()
            alive.locks.stop()
            over.set()

    async def _reconcile(self, consumer: Consumer, journal: Journal, alive: _Alive, over: asyncio.Event) -> None:
        queue, timing = consumer.definition.name, self._reconciling
        looker = Reconciler(journal, queue, consumer.ends, self._repairs, timing, alive.burial)
        looker.family = alive.family

        async def step() -> None:
            if not await wait_for_event(over, timing.next()):
                await looker.look()

        await supervise(f"reconcile {queue}", step, over)

    async def _drain(self, consumers: list[Consumer], runner: Runner) -> None:
        for consumer in consumers:
            consumer.stop_taking()
        _log.info("worker stops", jobs=sum(len(consumer.busy) for consumer in consumers), drain=self._settings.drain)
        await finished(consumers, self._at_once, self._settings.drain)
        runner.shut_down()
        await finished(consumers, asyncio.Event(), PUT_BACK)
        for consumer in consumers:
            if consumer.busy:
                jobs = sorted(task.get_name() for task in consumer.busy)
                _log.error("left to the stalled check", queue=consumer.definition.name, jobs=jobs)
            consumer.close()

    def _say_start(self, definitions: list[QueueDefinition]) -> None:
        handlers = {each.name: self._registry.names(each.name) for each in definitions}
        concurrency = {each.name: each.concurrency for each in definitions}
        redis = without_secrets(self._settings.redis_url)
        _log.info("worker started", handlers=handlers, concurrency=concurrency, redis=redis)


def _unique_name() -> str:
    """A process' own: in a container the number alone comes again with every start."""
    host = re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname())
    return f"{host}:{os.getpid()}:{secrets.token_hex(2)}"


async def _say_ready(consumers: list[Consumer], on_ready: Callable[[], None] | None) -> None:
    for consumer in consumers:
        await consumer.ready.wait()
    _log.info("worker ready", queues=[consumer.definition.name for consumer in consumers])
    if on_ready is not None:
        on_ready()
