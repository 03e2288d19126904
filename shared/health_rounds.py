"""Every few minutes, by one process of all: how each queue fares is logged, and what is wrong raised as alerts."""

from dataclasses import asdict, dataclass
from typing import Final

from redis.asyncio import Redis

from jobcast.shared import logs
from jobcast.shared.alerts.alert import QUEUE_UNHEALTHY, STUCK
from jobcast.shared.alerts.outbox import Outbox
from jobcast.shared.health import Health, QueueHealth
from jobcast.shared.journal.contract import Journal
from jobcast.shared.keys import Keys
from jobcast.shared.lease import Lease
from jobcast.shared.redis import unavailable
from jobcast.shared.settings import Settings

LEASE: Final = 30.0
"""Seconds, renewed with each queue: a process that dies in its round is replaced so soon."""
MOST_QUEUES: Final = 200

_log = logs.get("health")


@dataclass(frozen=True, slots=True)
class Limits:
    """Alerts are raised above ``failed`` and ``waiting``; a round is due every ``every`` seconds."""

    failed: int = 50
    waiting: int = 500
    every: float = 300.0

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        return cls(settings.alert_failed, settings.alert_waiting, settings.health_every)


class HealthRounds:
    """Two keys: who is on a round, and one that lives as long as the last round is young."""

    def __init__(  # noqa: PLR0913  what it looks through and what it tells
        self, client: Redis, keys: Keys, journal: Journal, *, health: Health, outbox: Outbox, limits: Limits
    ) -> None:
        self._client = client
        self._young = keys.lease("health:young")
        self._lease = Lease(client, keys.lease("health"), LEASE)
        self._journal = journal
        self._health = health
        self._outbox = outbox
        self._limits = limits

    async def look(self) -> bool:
        """Make the round if it is due and nobody else is on it; whether it was made."""
        if not await self._lease.hold():
            return False
        try:
            with unavailable():
                if await self._client.exists(self._young):
                    return False
            for queue in (await self._journal.queues())[:MOST_QUEUES]:
                await self._lease.hold()
                await self._tell(await self._health.look(queue))
            with unavailable():
                await self._client.set(self._young, b"1", px=round(self._limits.every * 1000))
        finally:
            await self._lease.release()
        return True

    async def _tell(self, found: QueueHealth) -> None:
        _log.info(
            "queue metrics",
            queue=found.name,
            counts=found.counts,
            healthy=found.healthy,
            paused=found.paused,
            stuck=len(found.stuck),
            limits=asdict(self._limits),
        )
        for state, most in (("failed", self._limits.failed), ("waiting", self._limits.waiting)):
            count = found.counts.get(state, 0)
            if count > most:
                await self._outbox.raise_alert(
                    QUEUE_UNHEALTHY,
                    f"{found.name} {state}",
                    queue=found.name,
                    text=f"{count} jobs of queue {found.name} {'have failed' if state == 'failed' else 'wait'}",
                    details={"state": state, "count": count, "limit": most, "counts": found.counts},
                )
        if found.stuck:
            ids = [job.id for job in found.stuck]
            await self._outbox.raise_alert(
                STUCK,
                found.name,
                queue=found.name,
                text=f"{len(ids)} jobs of queue {found.name} are stuck: {', '.join(ids[:5])}",
                details={
                    "jobIds": ids,
                    "jobs": [{"id": job.id, "name": job.name, "activeFor": job.active_for} for job in found.stuck],
                },
            )
