"""How many jobs of one queue are at work at once in this process, and how that number follows the load."""

import asyncio
import time
from typing import Final

from jobcast.shared import logs
from jobcast.shared.supervise import wait_for_event

LOOK: Final = 0.5
"""Seconds between two looks at the load."""
SAMPLES: Final = 5
"""Wakings in one look, of which the lag is the mean: one alone may have met a collection of garbage."""
LAG: Final = 0.05
"""Seconds by which the event loop wakes us late, above which this process is overloaded. Every heartbeat, cancel and
progress of its jobs then comes as late, and another job would only slow those at work."""
SHRINK: Final = 0.75

_log = logs.get("slots")


class Slots:
    """At most ``limit`` jobs hold one. There may be more of them for a while after the limit was lowered."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.busy = 0
        self._room = asyncio.Event()

    @property
    def full(self) -> bool:
        return self.busy >= self.limit

    @property
    def over(self) -> bool:
        """More are held than there should be: one that is given back is not for the next job."""
        return self.busy > self.limit

    def take(self) -> None:
        self.busy += 1

    def release(self) -> None:
        self.busy -= 1
        self._room.set()

    def resize(self, limit: int) -> None:
        self.limit = limit
        self._room.set()

    async def room(self) -> None:
        """Wait until one is free."""
        while self.full:
            self._room.clear()
            await self._room.wait()


def following(limit: int, least: int, most: int, *, full: bool, lag: float) -> int:
    """The next limit: one more while all slots are taken, a quarter less while the process cannot keep up.

    So that many processes on one machine come to share it evenly: additive increase, multiplicative decrease, as TCP
    does (Chiu and Jain, 1989). What is not used is given back one by one, for the next rush to begin gently.
    """
    if lag > LAG:
        return max(least, min(limit - 1, int(limit * SHRINK)))
    return min(limit + 1, most) if full else max(limit - 1, least)


class Governor:
    """Moves the limit of ``slots`` between ``least`` and ``most``."""

    def __init__(self, queue: str, slots: Slots, least: int, most: int) -> None:
        self._queue = queue
        self._slots = slots
        self._least = least
        self._most = most

    async def look(self, over: asyncio.Event) -> None:
        """One look, ``LOOK`` seconds long."""
        full, late = True, 0.0
        for _ in range(SAMPLES):
            asked = time.monotonic()
            if await wait_for_event(over, LOOK / SAMPLES):
                return
            late += time.monotonic() - asked - LOOK / SAMPLES
            full = full and self._slots.full
        slots, lag = self._slots, late / SAMPLES
        limit = following(slots.limit, self._least, self._most, full=full, lag=lag)
        if limit != slots.limit:
            _log.debug("concurrency follows the load", queue=self._queue, limit=limit, lag=round(lag, 3))
            slots.resize(limit)
