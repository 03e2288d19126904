"""Watches of one job that were all sent the same up to the same event: what comes next is decided once for all.

A job with a thousand watchers would otherwise compare the same two numbers a thousand times for every event. Who falls
out of step (its outbox is full, the feed is suspect, an event is missing) leaves the lane with the place it had reached
and counts for itself until it is level again. Values in, values out; no I/O.
"""

from collections.abc import Sequence
from typing import Protocol

from jobcast.gateway.wire import Message
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


class Lane:
    """``members`` have all been sent everything up to ``last``."""

    __slots__ = ("last", "members")

    def __init__(self) -> None:
        self.last: Position | None = None
        self.members: dict[Runner, None] = {}

    def follows(self, messages: Sequence[Message]) -> bool:
        """Whether these are just the next events, none missing and none twice."""
        last = self.last
        if last is None:
            return False
        epoch, seq = last
        for message in messages:
            seq += 1
            position = message.position
            if position is None or position.seq != seq or position.epoch != epoch:
                return False
        return True

    def is_old(self, message: Message) -> bool:
        """Whether the members were sent this one already."""
        last, position = self.last, message.position
        return position is None or (last is not None and position.epoch == last.epoch and position.seq <= last.seq)

    def admit(self, runner: Runner, latest: Position | None) -> bool:
        """Take in who is level: with the members, or in an empty lane with the event ``latest``."""
        goal = self.last if self.members else latest
        if goal is None or runner.step != goal:
            return False
        self.last = goal
        self.members[runner] = None
        return True

    def leave(self, runner: Runner) -> None:
        """Let one go on by itself, from where the lane is."""
        if runner in self.members:
            del self.members[runner]
            assert self.last is not None
            runner.resume(self.last)

    def dissolve(self) -> list[Runner]:
        """Let everybody go on by themselves."""
        runners = list(self.members)
        for runner in runners:
            self.leave(runner)
        return runners
