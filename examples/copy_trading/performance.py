"""How well a vault did: its return, and how deep it fell on the way."""

from collections.abc import Iterable
from decimal import Decimal, localcontext
from typing import Final, NamedTuple

_DIGITS: Final = 50
"""Kept while reckoning. Fractions would be exact, and grow by a trade's digits with each trade."""


class Performance(NamedTuple):
    """``roi`` and ``drawdown`` are shares: 0.08 is 8 %. ``drawdown`` is the deepest fall from a peak, 0 to 1."""

    trades: int
    value: int
    roi: Decimal
    drawdown: Decimal


def performance(values: Iterable[tuple[int, int]]) -> Performance:
    """Reckon from the value right before and right after each trade, which is above 0 before it, oldest first.

    Each trade counts by what it made of what was there. What followers bring and take between two trades changes the
    value as well, and is no merit of the leader's: return and drawdown do not see it.
    """
    trades, value = 0, 0
    index = peak = Decimal(1)
    drawdown = Decimal(0)
    with localcontext() as context:
        context.prec = _DIGITS
        for before, after in values:
            trades, value = trades + 1, after
            index = index * after / before
            peak = max(peak, index)
            drawdown = max(drawdown, 1 - index / peak)
        return Performance(trades, value, index - 1, drawdown)
