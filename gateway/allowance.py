"""How much may be asked for, by one client or by newcomers: a token bucket. Values in, values out; no I/O."""

from typing import Final

BURST: Final = 3.0
"""Seconds' worth of a client's calls at once: a page that opens subscribes to all it shows in one breath."""


class Allowance:
    """``rate`` calls a second in the long run, ``burst`` seconds' worth at once.

    Times are seconds on any steady clock.
    """

    __slots__ = ("_at", "_left", "_most", "rate")

    def __init__(self, rate: float, now: float, burst: float = BURST) -> None:
        self.rate = rate
        # Below one call nothing would ever be allowed.
        self._left = self._most = max(1.0, rate * burst)
        self._at = now

    def take(self, now: float) -> bool:
        """Whether one more call is allowed now; it is counted if so."""
        self._left = min(self._most, self._left + (now - self._at) * self.rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
