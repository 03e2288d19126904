"""One timer for every connection: deadlines and pings in slots of a wheel, on the loop's own clock.

A timer for each client costs a heap entry and a callback object each, and a client that goes leaves its timer behind;
here adding and forgetting are a set's. The wall clock plays no part: a step of it would disconnect everybody.
See Varghese and Lauck, "Hashed and hierarchical timing wheels" (1987).
"""

import asyncio
from typing import Final, Protocol

from jobcast.shared import logs

TICK: Final = 0.05
log = logs.get("wheel")


class Due(Protocol):
    """Whoever is to be called. ``slot`` is the wheel's; begin with None."""

    slot: "set[Due] | None"

    def due(self, now: float, /) -> float | None:
        """The time has come: answer when to be called again (loop time), or None for never."""
        ...


class Wheel:
    """Calls come up to one ``tick`` (seconds) late, never early."""

    __slots__ = ("_loop", "_next", "_slots", "_tick", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, tick: float = TICK) -> None:
        self._loop = loop
        self._tick = tick
        self._slots: dict[int, set[Due]] = {}
        self._next = 0
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return sum(map(len, self._slots.values()))

    def add(self, item: Due, at: float) -> None:
        """Call ``item`` at the loop's time ``at``; its earlier appointment, if any, is dropped."""
        self.forget(item)
        number = int(at / self._tick) + 1
        if self._timer is None:
            self._next = int(self._loop.time() / self._tick) + 1
            self._wind()
        number = max(number, self._next)
        slot = self._slots.get(number)
        if slot is None:
            slot = self._slots[number] = set()
        slot.add(item)
        item.slot = slot

    def forget(self, item: Due) -> None:
        """Drop its appointment; whoever is gone must not be kept until then."""
        if item.slot is not None:
            item.slot.discard(item)
            item.slot = None

    def _wind(self) -> None:
        self._timer = self._loop.call_at(self._next * self._tick, self._turn)

    def _turn(self) -> None:
        now = self._loop.time()
        last = int(now / self._tick)
        # After a stall of the loop many slots are due; a span with nobody in it is not walked.
        for number in sorted(number for number in self._slots if number <= last):
            slot = self._slots.pop(number)
            while slot:
                # One at a time: who is called may forget another of the same slot.
                item = slot.pop()
                item.slot = None
                try:
                    again = item.due(now)
                except Exception:
                    # One connection's fault must not end the deadlines of all.
                    log.exception("a deadline failed")
                    continue
                if again is not None and item.slot is None:
                    self._next = last + 1
                    self.add(item, again)
        self._next = last + 1
        self._timer = None
        if self._slots:
            self._wind()
