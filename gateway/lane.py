"""Watches of one job that were all sent the same up to the same event: what comes next is decided once for all.

A job with a thousand watchers would otherwise compare the same two numbers a thousand times for every event. Who falls
out of step (its outbox is full, the feed is suspect, an event is missing) leaves the lane with the place it had reached
and counts for itself until it is level again. Values in, values out; no I/O.
"""

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from jobcast.gateway.wire import Message, follow, signature
from jobcast.shared.position import Position


class Runner(Protocol):
    """A watch that can run in a lane, and what stands before it."""

    @property
    def step(self) -> Position | None:
        """The last event it was sent, if it is in order; None while it is not."""
        ...

    def resume(self, last: Position) -> None:
        """It has left the lane, having been sent everything up to ``last``."""
        ...


R = TypeVar("R", bound=Runner)


class Lane(Generic[R]):
    """``members`` have all been sent everything up to ``last``, and nothing else."""

    __slots__ = ("_epoch", "_job_id", "_seq", "_signed", "members")

    def __init__(self, job_id: str) -> None:
        self.members: dict[R, None] = {}
        self._job_id = job_id
        self._epoch = ""
        self._seq = 0
        self._signed = b""

    @property
    def last(self) -> Position:
        return Position(self._epoch, self._seq)

    def take(self, wires: Sequence[bytes]) -> bool:
        """Go on by these events, if they are just the next ones."""
        if follow(wires, self._seq, self._signed):
            self._seq += len(wires)
            return True
        return False

    def go_on(self, message: Message) -> bool:
        """The same with an event that was parsed, whatever its name."""
        if message.position == (self._epoch, self._seq + 1):
            self._seq += 1
            return True
        return False

    def is_old(self, message: Message) -> bool:
        """Whether the members were sent this one already."""
        position = message.position
        return position is None or (position.epoch == self._epoch and position.seq <= self._seq)

    def admit(self, runner: R, latest: Position | None) -> bool:
        """Take in who is level: with the members, or in an empty lane with the event ``latest``."""
        goal = self.last if self.members else latest
        if goal is None or runner.step != goal:
            return False
        if not self.members:
            self._epoch, self._seq = goal
            self._signed = signature(goal.epoch, self._job_id)
        self.members[runner] = None
        return True

    def leave(self, runner: R) -> None:
        """Let one go on by itself, from where the lane is."""
        if runner in self.members:
            del self.members[runner]
            runner.resume(self.last)

    def dissolve(self) -> list[R]:
        """Let everybody go on by themselves."""
        runners = list(self.members)
        for runner in runners:
            self.leave(runner)
        return runners
