"""The states of a job and the law of which event may follow which.

The journal holds one copy of this law: its Redis script is handed the row of the event it appends, so the table
below is the only place where it is written down.
"""

from dataclasses import dataclass
from typing import Final, Literal

State = Literal[
    "unknown",
    "waiting",
    "delayed",
    "waiting-children",
    "active",
    "stalled",
    "completed",
    "failed",
    "cancelling",
    "cancelled",
]
EventClass = Literal["state", "progress", "log"]

QUEUED: Final = frozenset({"waiting", "delayed", "waiting-children"})
RUNNING: Final = frozenset({"active", "stalled"})
LIVE: Final = QUEUED | RUNNING
TERMINAL: Final = frozenset({"completed", "failed", "cancelled"})

JOB_QUEUED: Final = "job-queued"
JOB_STARTED: Final = "job-queue-to-start"
JOB_PROGRESS: Final = "job-progress"
JOB_LOG: Final = "job-log"
JOB_STALLED: Final = "job-stalled"
JOB_COMPLETED: Final = "job-completed"
JOB_FAILED: Final = "job-failed"
JOB_CANCELLED: Final = "job-cancelled"
CHILDREN_PROGRESS: Final = "children-progress"
"""No event's name, a row of the law: the ``job-progress`` of a job that waits for its children, as they make it."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the law.

    ``follows``: the states, within one attempt, in which the event is taken. ``leads_to``: the state after it;
    for ``job-queued`` and a ``job-failed`` that will be tried again the event itself says more.
    """

    event_class: EventClass
    follows: frozenset[str]
    leads_to: State


LAW: Final[dict[str, Rule]] = {
    # Follows nothing: it begins a record or a new attempt, and is a duplicate within one (but see MOVED_ON).
    JOB_QUEUED: Rule("state", frozenset(), "waiting"),
    JOB_STARTED: Rule("state", QUEUED, "active"),
    # A stalled attempt that speaks again was not dead, only late.
    JOB_PROGRESS: Rule("progress", RUNNING, "active"),
    # Not once the job runs: what its children were must not overtake what it says itself.
    CHILDREN_PROGRESS: Rule("progress", frozenset({"waiting-children"}), "waiting-children"),
    JOB_LOG: Rule("log", RUNNING, "active"),
    JOB_STALLED: Rule("state", frozenset({"active"}), "stalled"),
    JOB_COMPLETED: Rule("state", RUNNING, "completed"),
    # Also from the queue: a job can fail without being run, when its parent or its limits say so.
    JOB_FAILED: Rule("state", LIVE, "failed"),
    JOB_CANCELLED: Rule("state", LIVE, "cancelled"),
}

MOVED_ON: Final[dict[str, frozenset[str]]] = {
    "waiting": frozenset({"waiting-children", "delayed"}),
    "delayed": frozenset({"waiting-children"}),
}
"""From where a job moves on within one attempt by being queued into a state: forward only, told once."""
