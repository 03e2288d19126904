"""When an attempt will be done, from the progress it tells: calm, or not told at all. Pure: time is an argument.

The rate is an exponentially weighted moving average over time, for irregularly spaced samples (Eckner, "Algorithms for
Unevenly Spaced Time Series: Moving Averages and Other Rolling Operators", 2012): an interval of ``dt`` seconds weighs
``1 - exp(-dt / tau)``, and the sum is divided by the weight given so far, so that the zero it starts from does not
count (the bias correction of Adam; Kingma and Ba, 2014). ``tau`` grows with the age of the attempt: a short job answers
within seconds, and in one of hours a burst of a minute is no news.

An interval goes from one step forward to the next, so that work in bursts has the rate of its bursts and pauses
together, whenever it is looked at. A pause of more than twice the usual lets the rate decay: the end of an attempt that
stands still moves away, and after a while none is known.

What is told is an end, and it stays where it was told until the reckoning differs by ``CHANGE``: in between the time
left counts down by the clock.
"""

import math
from dataclasses import dataclass
from typing import Final

LEAST_SECONDS: Final = 2.0
LEAST_PERCENT: Final = 1.0
"""Until so much has passed and was done nothing is told: a first step says little of those that follow."""
SHORTEST_TAU: Final = 5.0
TAU_SHARE: Final = 0.25
"""Of the attempt's age, remembered."""
CHANGE: Final = 0.1
"""Of the time left: a reckoning nearer than this to what was told is no news."""
USUAL: Final = 2.0
"""Times the mean pause that a pause may last before it is one."""
STILL: Final = 3.0
"""Times ``tau`` (or the mean pause, where that is longer) without any progress after which no end is known."""
LONGEST: Final = 30 * 24 * 3600.0
SHORTEST_STEP: Final = 0.05
"""Seconds; steps nearer than this are one."""


@dataclass(slots=True)
class Eta:
    """One attempt's. A new attempt has a new one: what an older one took says nothing of it."""

    _began: float | None = None
    _from: float = 0.0
    _percent: float = 0.0
    _moved: float = 0.0
    _counted: float = 0.0
    _rate: float = 0.0
    _pause: float = 0.0
    _weight: float = 0.0
    _end: float | None = None

    def update(self, percent: float, now: float) -> int | None:
        """Take in that ``percent`` is done at ``now`` (seconds); how long is left in ms, None while that is not known.

        Going backwards begins anew: what was done is to be done again, at a rate nobody has seen.
        """
        if self._began is None or percent < self._percent:
            self._begin(percent, now)
        elif percent > self._counted and now - self._moved >= SHORTEST_STEP:
            self._step(percent, now)
        self._percent = percent
        if percent >= 100:
            return 0
        left = self._left(percent, now)
        self._end = None if left is None else self._calmed(left, now)
        return None if self._end is None else _rounded(max(self._end - now, 0.0))

    def _begin(self, percent: float, now: float) -> None:
        self._began = self._moved = now
        self._from = self._counted = percent
        self._rate = self._pause = self._weight = 0.0

    def _step(self, percent: float, now: float) -> None:
        took = now - self._moved
        weight = 1 - math.exp(-took / self._tau(now))
        self._rate += weight * ((percent - self._counted) / took - self._rate)
        self._pause += weight * (took - self._pause)
        self._weight += weight * (1 - self._weight)
        self._moved, self._counted = now, percent

    def _tau(self, now: float) -> float:
        return max(SHORTEST_TAU, TAU_SHARE * (now - (self._began or 0.0)))

    def _left(self, percent: float, now: float) -> float | None:
        age, tau = now - (self._began or 0.0), self._tau(now)
        if age < LEAST_SECONDS or percent - self._from < LEAST_PERCENT or self._rate <= 0:
            return None
        pause, idle = self._pause / self._weight, now - self._moved
        if idle > STILL * max(tau, pause):
            return None
        whole = (100 - self._counted) * self._weight / self._rate
        left = whole * math.exp(max(idle - USUAL * pause, 0.0) / tau) - min(idle, USUAL * pause)
        return max(left, 0.0) if left <= LONGEST else None

    def _calmed(self, left: float, now: float) -> float:
        """The end told before, where the new one is no news."""
        told = self._end
        if told is not None and told > now and abs(now + left - told) <= max(CHANGE * left, 1.0):
            return told
        return now + left


def _rounded(left: float) -> int:
    """In ms, as exactly as a person would say it; more than nothing while it is not done."""
    step = next(step for least, step in ((3600, 60), (600, 30), (60, 5), (0, 1)) if left >= least)
    return max(round(left / step), 1) * step * 1000
