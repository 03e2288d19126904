"""How a queue fares: its counts, whether it is healthy, and which of its jobs are stuck.

Healthy while fewer have failed and fewer wait than the operator's thresholds say. A job is stuck when it has been
active for longer than its name's ``staleAfter``, as its queue's definition gives it, else than ``stuck_after``.
"""

from dataclasses import dataclass
from typing import Any, Final

import msgspec

from jobcast.shared import logs
from jobcast.shared.clock import now_ms
from jobcast.shared.keys import Keys
from jobcast.shared.names import check_queue_name
from jobcast.shared.queue import JobQueues
from jobcast.shared.redis import unavailable
from jobcast.shared.settings import Settings

MOST_ACTIVE: Final = 500
"""Active jobs of a queue that are looked at, those taken first before the others."""

_log = logs.get("health")


@dataclass(frozen=True, slots=True)
class Thresholds:
    """A queue is healthy below ``failed`` and ``waiting``; ``stuck_after`` in seconds."""

    failed: int = 100
    waiting: int = 1000
    stuck_after: float = 300.0

    @classmethod
    def of(cls, settings: Settings) -> "Thresholds":
        return cls(settings.unhealthy_failed, settings.unhealthy_waiting, settings.stuck_after)


class StuckJob(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``active_for`` and ``allowed`` in ms."""

    id: str
    name: str
    active_for: int
    allowed: int


class QueueHealth(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``health`` is ``ok`` or ``degraded``: ``healthy`` in a word, as older readers know it. ``reasons`` are sentences;
    stuck jobs are told beside them and do not make a queue unhealthy, for one of a thousand may be slow.
    """

    name: str
    counts: dict[str, int]
    paused: bool
    healthy: bool
    health: str
    reasons: list[str]
    stuck: list[StuckJob]


class _Times(msgspec.Struct, rename="camel"):
    stale_after: float | None = None


class Health:
    """Looks at queues by BullMQ's records. Raises ``Unavailable`` when Redis is away."""

    def __init__(self, queues: JobQueues, keys: Keys, thresholds: Thresholds) -> None:
        self._queues = queues
        self._keys = keys
        self._thresholds = thresholds

    async def look(self, queue: str) -> QueueHealth:
        """One queue, in five round trips; one that never was has no jobs and is healthy."""
        check_queue_name(queue)
        counts = await self._queues.counts(queue)
        paused = await self._queues.paused(queue)
        with unavailable():
            stuck = await self._stuck(await self._queues.handle(queue), queue) if counts.get("active") else []
        reasons = [
            f"{counts.get(state, 0)} jobs {'have failed' if state == 'failed' else 'wait'}; healthy is below {most}"
            for state, most in (("failed", self._thresholds.failed), ("waiting", self._thresholds.waiting))
            if counts.get(state, 0) >= most
        ]
        return QueueHealth(
            name=queue,
            counts=counts,
            paused=paused,
            healthy=not reasons,
            health="degraded" if reasons else "ok",
            reasons=reasons,
            stuck=stuck,
        )

    async def _stuck(self, handle: Any, queue: str) -> list[StuckJob]:
        async with handle.client.pipeline(transaction=False) as pipe:
            pipe.hget(self._keys.queue_definition(queue), "jobs")
            pipe.lrange(handle.toKey("active"), -MOST_ACTIVE, -1)
            definition, job_ids = await pipe.execute()
        async with handle.client.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.hmget(handle.toKey(job_id), "name", "processedOn")
            found = await pipe.execute()
        allowed, now = _stale_after(queue, definition), now_ms()
        jobs = []
        for job_id, (name, since) in zip(job_ids, found, strict=True):
            limit = round(1000 * allowed.get(name or "", self._thresholds.stuck_after))
            if since and since.isdecimal() and now - int(since) > limit:
                jobs.append(StuckJob(id=job_id, name=name or "", active_for=now - int(since), allowed=limit))
        return sorted(jobs, key=lambda job: -job.active_for)


def _stale_after(queue: str, definition: str | None) -> dict[str, float]:
    if definition is None:
        return {}
    try:
        jobs = msgspec.json.decode(definition, type=dict[str, _Times])
        return {name: times.stale_after for name, times in jobs.items() if times.stale_after is not None}
    except msgspec.DecodeError as error:
        _log.warning("a queue's definition cannot be read; its stale-after is not known", queue=queue, error=str(error))
        return {}
