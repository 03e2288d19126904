"""Which progress is told at once and which waits. Pure: time is an argument, in seconds.

The first value and every change of stage go at once; of the rest the latest goes once per interval. What is kept is
taken at the end, so the last value is never lost.
"""

from dataclasses import dataclass
from typing import Final, Generic, TypeVar

T = TypeVar("T")

INTERVAL: Final = 0.1


@dataclass(slots=True)
class Throttle(Generic[T]):
    """One job's progress. Holds at most one value: a newer one replaces it."""

    interval: float = INTERVAL
    _kept: T | None = None
    _kept_stage: str | None = None
    _told_stage: str | None = None
    _told_at: float | None = None

    def offer(self, value: T, stage: str | None, now: float) -> bool:
        """Keep the value; True when it should be taken now, False when :meth:`wait` says when."""
        self._kept, self._kept_stage = value, stage
        return self.due(now)

    def due(self, now: float) -> bool:
        """Whether a value is kept that may be told now."""
        if self._kept is None:
            return False
        first = self._told_at is None
        return first or self._kept_stage != self._told_stage or self.wait(now) == 0

    def take(self, now: float) -> T | None:
        """The value to tell, if there is one; it counts as told."""
        value, self._kept = self._kept, None
        if value is not None:
            self._told_at, self._told_stage = now, self._kept_stage
        return value

    def restore(self, value: T) -> None:
        """Give back a value that could not be told, unless a newer one came meanwhile."""
        if self._kept is None:
            self._kept, self._kept_stage = value, self._told_stage

    def wait(self, now: float) -> float | None:
        """Seconds until the kept value is due; None when nothing is kept."""
        if self._kept is None:
            return None
        return 0.0 if self._told_at is None else max(0.0, self._told_at + self.interval - now)
