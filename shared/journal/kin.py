"""A job's place in its family, in memory: the twin of what ``append.lua`` counts for a parent."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from jobcast.shared.events import Event, JobQueued
from jobcast.shared.rollup import WHOLE, RollUp, brood_of, counted_as, kin_of, percent_of, read


@dataclass(slots=True)
class Kin:
    """``numbers`` are those of the job's children; the rest is how the job itself was counted last."""

    parent: str = ""
    weight: int = 0
    done: int = 0
    counted: str = "-"
    brood: str = ""
    numbers: Counter[str] = field(default_factory=Counter)
    told_at: float = 0.0

    @property
    def share(self) -> float | None:
        return int(self.brood.partition(":")[0]) / 100 if self.brood else None

    @property
    def fields(self) -> dict[str, bytes]:
        found: dict[str, object] = {f"children:{name}": number for name, number in self.numbers.items()}
        if self.parent:
            found["kin"] = f"{self.done}:{self.counted}:{self.weight}:{self.parent}"
        if self.brood:
            found["share"], found["children:total"], found["children:weight"] = self.brood.split(":")
        return {name: str(value).encode() for name, value in found.items()}

    def take(
        self, event: Event, last_attempt: int, kin_of_job: Callable[[str], "tuple[Kin, bool] | None"]
    ) -> str | None:
        """Take the event in, before its record does; the parent whose numbers it changed, unless that is over."""
        if isinstance(event, JobQueued):
            self.brood = self.brood or brood_of(event)
            if not self.parent and (kin := kin_of(event)):
                weight, _, self.parent = kin.partition(":")
                self.weight = int(weight)
        parent, is_over = (kin_of_job(self.parent) if self.parent else None) or (None, False)
        done, state = self._done(event, last_attempt), counted_as(event.leads_to)
        if parent is None or not parent.brood or (done, state) == (self.done, self.counted):
            return None
        self._count(parent, done, state)
        return None if is_over else self.parent

    def _done(self, event: Event, last_attempt: int) -> int:
        if event.terminal:
            return WHOLE
        if (told := percent_of(event)) is not None:
            return told
        return 0 if event.attempt > last_attempt or event.ends_attempt else self.done

    def _count(self, parent: "Kin", done: int, state: str) -> None:
        numbers = parent.numbers
        if self.counted == "-":
            numbers["known"] += 1
            numbers["known-weight"] += self.weight
        if state != self.counted:
            if self.counted not in ("-", "waiting"):
                numbers[self.counted] -= 1
            if state != "waiting":
                numbers[state] += 1
        if done != self.done:
            numbers["sum"] += self.weight * (done - self.done)
        numbers["changes"] += 1
        self.done, self.counted = done, state

    def claim(self, fields: Mapping[str, bytes], interval: int) -> RollUp | int | None:
        roll_up, now = read(fields), time.monotonic() * 1000
        if roll_up is None or roll_up.changes <= roll_up.told:
            return None
        wait = round(interval - (now - self.told_at))
        if self.told_at and wait > 0:
            return wait
        self.told_at = now
        return roll_up if roll_up.is_news else None
