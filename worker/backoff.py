"""How long to wait before the next attempt. Pure: chance is an argument.

BullMQ's Python port cannot be asked: its asynchronous strategies fail and its jitter is ignored.
"""

from collections.abc import Callable
from typing import Final, Literal

Kind = Literal["fixed", "exponential"]

LONGEST_DELAY: Final = 24 * 3600 * 1000
"""Milliseconds. 2^n passes any number soon: a job that waits for longer than a day is a job that was lost."""


def retry_delay(kind: Kind, delay: float, attempts_made: int, *, jitter: float = 0.0, chance: float = 0.0) -> int:
    """Milliseconds until the next attempt.

    ``attempts_made`` counts the attempt that just failed, from 1. ``jitter`` is the share of the wait that is left
    to ``chance`` (0-1, evenly spread), always taken off: the wait is never longer than it was said to be.
    """
    doublings = min(max(attempts_made - 1, 0), 64) if kind == "exponential" else 0
    whole = min(max(delay, 0) * 2.0**doublings, LONGEST_DELAY)
    return round(whole * (1.0 - jitter * chance))


FALLBACK_DELAY: Final = 1000
"""Milliseconds, where a function that should have said how long failed: not at once, and not never."""


def custom_delay(
    function: Callable[[int, BaseException | None], float], attempts_made: int, error: BaseException | None
) -> int:
    """Milliseconds by a user's own function; what it raises, or what is no number of ms, is ``FALLBACK_DELAY``."""
    try:
        said = function(attempts_made, error)
        return round(min(said, LONGEST_DELAY)) if said >= 0 else FALLBACK_DELAY
    except Exception:  # noqa: BLE001  a slip in there must not keep the job from its next attempt
        return FALLBACK_DELAY
