"""Which events of a queue came by the feed lately: what its jobs' records are compared with."""

from collections.abc import Iterable
from typing import Final

from jobcast.gateway.wire import Message
from jobcast.shared.position import Position

LIVES: Final = 6
"""Rounds of verification for which an event is remembered at least: one looks at what changed before the last one."""
MOST: Final = 20_000
"""Jobs in each half. When a queue brings more, the older half goes early, and jobs in it may be told a second time."""


class Heard:
    """The last position of each job that was heard of within the last rounds."""

    __slots__ = ("_before", "_now", "_rounds")

    def __init__(self) -> None:
        self._now: dict[str, Position | None] = {}
        self._before: dict[str, Position | None] = {}
        self._rounds = 0

    def add(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self._now[message.job_id] = message.position
        if len(self._now) >= MOST:
            self._turn()

    def last(self, job_id: str) -> Position | None:
        """None for a job that was not heard of."""
        return self._now.get(job_id) or self._before.get(job_id)

    def __len__(self) -> int:
        return len(self._now) + len(self._before)

    def age(self) -> None:
        """A round of verification is over."""
        self._rounds += 1
        if self._rounds >= LIVES:
            self._turn()

    def _turn(self) -> None:
        self._rounds = 0
        self._before, self._now = self._now, {}
