"""How much a client may ask for: a token bucket. Values in, values out; no I/O."""

from typing import Final

BURST: Final = 3.0
"""Seconds' worth of calls at once: a page that opens subscribes to all it shows in one breath."""


class Allowance:
    """``rate`` calls a second in the long run. Times are seconds on any steady clock."""

    __slots__ = ("_at", "_left", "rate")

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._left = rate * BURST
        self._at = now

    def take(self, now: float) -> bool:
        """Whether one more call is allowed now; it is counted if so."""
        self._left = min(self.rate * BURST, self._left + (now - self._at) * self.rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
