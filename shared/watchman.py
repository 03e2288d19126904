"""Watches over queues for all: health rounds, and alerts made and delivered. One process at a time does each.

Every worker stands ready; a gateway does where it knows the receiver, and takes its turn only while no worker lives, so
that somebody tells of the death of the last.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from redis.asyncio import Redis

from jobcast.shared.alerts import Outbox, Sink, sink_of
from jobcast.shared.alerts.collector import Collector
from jobcast.shared.alerts.deliverer import LEASE, Deliverer
from jobcast.shared.errors import Unavailable
from jobcast.shared.health import Health, Thresholds
from jobcast.shared.health_rounds import HealthRounds, Limits
from jobcast.shared.journal.contract import Journal
from jobcast.shared.keys import Keys
from jobcast.shared.lease import Lease
from jobcast.shared.operations import Operations
from jobcast.shared.queue import JobQueues
from jobcast.shared.settings import Settings
from jobcast.shared.supervise import supervise, wait_for_event

ALERTS_EVERY: Final = 1.0
"""Seconds between two looks for something to alert of, or to deliver."""
LONGEST_HEALTH_LOOK: Final = 10.0
"""Seconds between two looks whether a health round is due, at most."""


class Watchman:
    """``commands`` is the journal's client. ``may`` is asked before each turn."""

    def __init__(
        self,
        settings: Settings,
        queues: JobQueues,
        commands: Redis,
        journal: Journal,
        *,
        may: Callable[[], bool] = lambda: True,
    ) -> None:
        keys = Keys(settings.key_prefix)
        outbox = Outbox(commands, keys)
        self._may = may
        self._every = min(LONGEST_HEALTH_LOOK, settings.health_every / 4)
        self._sink: Sink = sink_of(settings)
        self._lease = Lease(commands, keys.lease("alerts"), LEASE)
        self._deliverer = Deliverer(outbox, self._sink, self._lease)
        self._collector = Collector(commands, keys, Operations(queues, journal), outbox)
        health = Health(queues, keys, Thresholds.of(settings))
        self._rounds = HealthRounds(commands, keys, journal, health=health, outbox=outbox, limits=Limits.of(settings))

    async def run(self, over: asyncio.Event) -> None:
        """Until ``over``; then the next process may take its place at once."""

        async def alerts() -> None:
            if await wait_for_event(over, ALERTS_EVERY):
                return
            if not self._may():
                await self._lease.release()
            elif await self._lease.hold():
                await self._collector.collect()
                await self._deliverer.deliver()

        async def rounds() -> None:
            if not await wait_for_event(over, self._every) and self._may():
                await self._rounds.look()

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(supervise(what, step, over))
                    for what, step in (("alerts", alerts), ("health", rounds))
                ]
                await over.wait()
                # Not waited for: a receiver may hang, and what is not noted as delivered is delivered by the next.
                for task in tasks:
                    task.cancel()
            with contextlib.suppress(Unavailable):
                await self._lease.release()
        finally:
            await self._sink.close()
