"""A worker's part in schedules, beside making the next run of each job it takes: those it declares, those that stand.

No lock between workers: of two that mend one schedule, BullMQ's script lets the first make the run.
"""

import asyncio
import random
from collections.abc import Sequence
from typing import Final

from jobcast.shared import logs
from jobcast.shared.errors import JobcastError, Unavailable
from jobcast.shared.schedule import Schedule
from jobcast.shared.schedules import Schedules
from jobcast.shared.supervise import supervise

MEND_EVERY: Final = 30.0
"""Seconds between two looks at each queue, less up to a fifth by chance. Without schedules one costs a round trip."""

_log = logs.get("schedules")


class Calendar:
    """The schedules of one worker process; ``every`` in seconds.

    Those declared are made after ``telling``, which tells how the queues are worked: their jobs go by it.
    """

    def __init__(
        self,
        schedules: Schedules,
        declared: Sequence[Schedule],
        queues: Sequence[str],
        *,
        telling: asyncio.Task[None],
        every: float = MEND_EVERY,
    ) -> None:
        self._telling = telling
        self._schedules = schedules
        self._declared = list(declared)
        self._queues = queues
        self._every = every

    async def keep(self) -> None:
        """Make what was declared, then look after all, until cancelled; Redis being away is waited out."""
        await supervise("schedules", self._step, asyncio.Event())

    async def _step(self) -> None:
        await asyncio.wait({self._telling})
        while self._declared:
            await self._make(self._declared[0])
            self._declared.pop(0)
        for queue in self._queues:
            await self._schedules.mend(queue)
        await asyncio.sleep(self._every * random.uniform(0.8, 1.0))  # noqa: S311  spreads workers, guards nothing

    async def _make(self, schedule: Schedule) -> None:
        try:
            fresh = await self._schedules.upsert(schedule)
        except Unavailable:
            raise
        except JobcastError as error:  # its end has come since it was declared, say; the others are made
            _log.error("a schedule was not made", queue=schedule.queue, schedule=schedule.id, error=str(error))
        else:
            _log.info("a schedule is there", queue=schedule.queue, schedule=schedule.id, fresh=fresh)
