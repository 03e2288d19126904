"""Which workers have fallen silent, from what was read of their heartbeats. Pure.

Looks are counted, and no time is measured: whoever judges may have stood still itself, with the worker (a suspended
machine) or behind a Redis that hung, and would find on its return that nobody had spoken for ever so long. A look that
succeeded is one at which the worker could have spoken too.
"""

from collections.abc import Mapping
from typing import Final

SILENT: Final = 7
"""Looks, one a second, at which a worker must not have been heard: three of its heartbeats, one every 2 s."""
CALM: Final = 5
"""Looks in a row after which whoever lives has been heard of again, whatever was before."""


class Silence:
    """Holds a count for each worker that is there. ``gap``: ms between two looks that are still in a row."""

    def __init__(self, *, silent: int = SILENT, calm: int = CALM, gap: int = 7_000) -> None:
        self._silent = silent
        self._calm = calm
        self._gap = gap
        self._heard: dict[str, tuple[str, int]] = {}
        self._at: int | None = None
        self._in_a_row = 0

    def look(self, at: int, beats: Mapping[str, str]) -> list[str]:
        """Who has been silent for long enough; told again at each look while its last beat stands there.

        ``at``: Redis' time, Unix ms. ``beats``: each worker's last one, different from the one before.
        """
        in_a_row = self._at is not None and 0 <= at - self._at <= self._gap
        self._in_a_row = self._in_a_row + 1 if in_a_row else 0
        self._at = at
        heard = {}
        for worker, beat in beats.items():
            last, looks = self._heard.get(worker, (None, 0))
            heard[worker] = (beat, looks + 1 if beat == last else 0)
        self._heard = heard
        return [worker for worker, (_, looks) in heard.items() if looks >= self._silent]

    @property
    def is_calm(self) -> bool:
        """Neither Redis nor we have stood still for a while: a lock that is gone now was not kept alive."""
        return self._in_a_row >= self._calm
