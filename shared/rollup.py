"""What the children of a job amount to: how many there are, in which states, and how far all of them are. Pure.

The numbers stand in the parent's own record. Each event of a child changes them by what it differs from the one before,
in the step that records it: they are right whichever worker runs the child, however often, and whoever dies between two
steps; and a parent of ten thousand children costs an event of one of them no more than a parent of two.

A child that is over counts whole, however it ended, for nothing more is waited for there; one that is tried again
begins anew. Of the parent's own progress the children make up a declared share, its own work the rest: on one scale
each, the second would begin at 0 again in the same attempt.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from jobcast.shared.events import ChildrenProgress, Event, JobProgress, JobQueued
from jobcast.shared.states import RUNNING, TERMINAL

SHARE: Final = 0.9
"""Of a parent that declares none: mostly it puts together what its children did."""
HEAVIEST: Final = 1_000_000.0
ROLL_UP: Final = "roll-up"
"""The writer of a parent's progress while it waits; its count is that of the changes the progress tells of."""
UNIT: Final = 1000
"""Weights are whole thousandths in the record, and progress whole hundredths of a percent: sums must not drift."""
WHOLE: Final = 10_000
STATES: Final = ("active", "completed", "failed", "cancelled")
FIELDS: Final = (
    "state", "attempt", "queue", "share", f"writer:{ROLL_UP}",
    *(f"children:{name}" for name in ("total", "weight", "known", "known-weight", "sum", "changes", *STATES)),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RollUp:
    """A parent's children at one instant. ``percent``: of the parent's progress; None where all of them weigh nothing.

    ``counts``: ``total``, and how many of them are waiting, active, completed, failed and cancelled. ``changes`` counts
    what happened to them, ``told`` how much of it the parent's progress has told.
    """

    queue: str
    state: str
    attempt: int
    percent: float | None
    counts: dict[str, int]
    changes: int
    told: int

    @property
    def pending(self) -> int:
        """Children that are not over."""
        return self.counts["waiting"] + self.counts["active"]

    @property
    def is_news(self) -> bool:
        return self.state == "waiting-children" and self.changes > self.told

    def event(self, job_id: str, now: int) -> ChildrenProgress:
        return ChildrenProgress(
            job_id=job_id,
            queue=self.queue,
            attempt=self.attempt,
            timestamp=now,
            progress=self.percent if self.percent is not None else 0,
            percent=self.percent,
            children=self.counts,
        )


def read(fields: Mapping[str, bytes]) -> RollUp | None:
    """What a record says of its job's children; None for a job that has none, or a record written to by hand."""
    if "share" not in fields:
        return None

    def number(name: str) -> int:
        return int(fields.get(f"children:{name}") or 0)

    try:
        total = max(number("total"), number("known"))
        counts = {state: max(0, number(state)) for state in STATES}
        # The weight of children nobody declared is known of those that were heard of; the others weigh what most do.
        guessed = number("known-weight") + (total - number("known")) * UNIT
        weight = max(int(fields.get("children:weight") or guessed), number("known-weight"))
        _, told, _ = (fields.get(f"writer:{ROLL_UP}") or b"0:0:0").split(b":")
        return RollUp(
            queue=fields["queue"].decode(),
            state=fields["state"].decode(),
            attempt=int(fields["attempt"]),
            percent=_percent(number("sum"), weight, int(fields["share"])),
            counts={"total": total, "waiting": max(0, total - sum(counts.values())), **counts},
            changes=number("changes"),
            told=int(told),
        )
    except (ValueError, KeyError):
        return None


def _percent(done: int, weight: int, share: int) -> float | None:
    if weight <= 0:
        return None
    return round(min(max(done / (weight * WHOLE), 0.0), 1.0) * share / 100, 2)


def scaled(value: float, share: float) -> float:
    """A parent's own 0-100 on the scale that its children began; ``share`` of 0-100 is theirs."""
    return round(share + value * (100 - share) / 100, 2)


# How an event says what it means to a parent, for the journal's script and for its twin.


def percent_of(event: Event) -> int | None:
    """Hundredths of a percent, where the event tells how far its job is."""
    if not isinstance(event, JobProgress) or event.percent is None:
        return None
    return round(min(max(event.percent, 0), 100) * 100)


def kin_of(event: Event) -> str:
    """``<weight>:<parent>``; empty for a job without a parent."""
    if not isinstance(event, JobQueued) or event.parent_id is None:
        return ""
    return f"{thousandths(1.0 if event.weight is None else event.weight)}:{event.parent_id}"


def brood_of(event: Event) -> str:
    """``<share>:<total>:<weight or nothing>``; empty for a job that waits for no children."""
    if not isinstance(event, JobQueued) or event.children is None:
        return ""
    children = event.children
    weight = "" if children.weight is None else thousandths(children.weight)
    return f"{round(children.share * WHOLE)}:{children.total}:{weight}"


def thousandths(weight: float) -> int:
    return round(weight * UNIT)


def counted_as(state: str) -> str:
    """How a child in this state is counted."""
    if state in TERMINAL:
        return state
    return "active" if state in RUNNING else "waiting"
