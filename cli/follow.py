"""One job as a client follows it: messages in, a decision out. No I/O and no clock.

The promise held here: the numbers applied only grow within an epoch, end at the true last, and a terminal event is
applied once, whatever the connection lost, repeated or replaced on the way. A number may stay unapplied for two
reasons only: a later message declared that it replaced it (``skipped``), or it stood before a snapshot that began
the view anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final, Literal

from jobcast.shared.errors import BadRequest
from jobcast.shared.position import Position
from jobcast.shared.states import JOB_CANCELLED, JOB_COMPLETED, JOB_FAILED, TERMINAL

Outcome = Literal["completed", "failed", "cancelled"]
Payload = Mapping[str, Any]

_OUTCOMES: Final[dict[str, Outcome]] = {
    JOB_COMPLETED: "completed",
    JOB_FAILED: "failed",
    JOB_CANCELLED: "cancelled",
}
_EPOCHS_REMEMBERED: Final = 8


class Verdict(Enum):
    """What to do with a message."""

    APPLY = "apply"
    DROP = "drop"
    ASK_SINCE = "ask since"
    """Something is missing: subscribe again from the position held. The message comes again with the answer."""
    ASK_AFRESH = "ask afresh"
    """Asking from the position did not close the gap: subscribe without one and begin at the snapshot."""


@dataclass(frozen=True, slots=True)
class Followed:
    """``position`` is how far the view is true; ``heard`` the last event itself applied, in the same epoch.

    They differ after a snapshot, which covers events this client was never sent. The one event that is sent once
    more behind it, the job's latest, is applied then and only then. ``empty``: a snapshot said there is no record,
    so the first event of the next one is number 1 and nothing else.
    """

    position: Position | None = None
    heard: int = 0
    past: tuple[str, ...] = ()
    ended: Outcome | None = None
    empty: bool = False
    asked: int = 0
    waiting: bool = False

    @classmethod
    def resumed(cls, since: Position) -> "Followed":
        """The view of a client that has applied everything up to ``since``."""
        return cls(position=since, heard=since.seq)

    @property
    def since(self) -> Position | None:
        """Where to go on after a loss.

        The event owed behind a snapshot counts as missed. Asking from the snapshot itself, a client that lost its
        connection between the two would never be sent the end of a job.
        """
        if self.position is None or self.heard >= self.position.seq:
            return self.position
        return Position(self.position.epoch, self.position.seq - 1)

    @property
    def settled(self) -> bool:
        """The job is over, and the event that says so was applied."""
        return self.ended is not None and (self.position is None or self.heard >= self.position.seq)


def subscribing(job: Followed) -> Followed:
    """A subscription was sent: until it is answered, what still arrives cannot show a new gap."""
    return replace(job, waiting=True)


def reconnected(job: Followed) -> Followed:
    """A new connection knows nothing of what was asked on the old one."""
    return replace(job, asked=0, waiting=False)


def take_answer(job: Followed, snapshot: Payload, *, recovered: bool) -> Followed:
    """The subscription was granted.

    A client that resumes at the very end is sent nothing more: only the snapshot in the answer tells it so.
    """
    job = replace(job, waiting=False)
    at = position_of(snapshot)
    # Live events may have overtaken the answer: only a snapshot of this very position says how it stands.
    if recovered and at is not None and at == job.position:
        return replace(job, ended=_outcome_of_state(snapshot), asked=0)
    return job


def take_snapshot(job: Followed, snapshot: Payload) -> tuple[Followed, Verdict]:
    """The view begins anew at the snapshot, unless it is older than what was applied already."""
    if snapshot.get("recovered") is True:
        return job, Verdict.DROP  # The missed events themselves follow; moving past them would drop them.
    at = position_of(snapshot)
    if at is None:
        gone = _left(job)
        return Followed(past=gone, empty=True), Verdict.APPLY
    if at.epoch in job.past:
        return job, Verdict.DROP
    heard, past = 0, job.past
    if job.position is not None:
        if at.epoch != job.position.epoch:
            past = _left(job)
        elif at.seq < job.position.seq:
            return job, Verdict.DROP
        else:
            heard = job.heard
    return Followed(at, heard, past, _outcome_of_state(snapshot)), Verdict.APPLY


def take_event(job: Followed, event: str, payload: Payload) -> tuple[Followed, Verdict]:
    """Apply, drop as seen before, or notice that something before it is missing."""
    at = position_of(payload)
    if at is None or at.seq < 1 or at.epoch in job.past:
        return job, Verdict.DROP
    known = job.position
    if known is not None and at.epoch == known.epoch:
        if at.seq <= job.heard or at.seq < known.seq:
            return job, Verdict.DROP
        reaches = known.seq
    elif known is not None:
        reaches = 0
        if at.seq - _skipped(payload) <= 1:
            job = replace(job, past=_left(job))
    else:
        reaches = 0 if job.empty else at.seq  # Or nothing is known: a queue's watcher meets a job in its midst.
    if at.seq - _skipped(payload) > reaches + 1:
        return _gap(job)
    return Followed(at, at.seq, job.past, outcome_of_event(event, payload)), Verdict.APPLY


def outcome_of_event(event: str, payload: Payload) -> Outcome | None:
    """How the job ended, if this event ended it; a failure that will be tried again did not."""
    if event == JOB_FAILED and payload.get("final") is False:
        return None
    return _OUTCOMES.get(event)


def _gap(job: Followed) -> tuple[Followed, Verdict]:
    if job.waiting:
        return job, Verdict.DROP
    verdict = Verdict.ASK_AFRESH if job.asked else Verdict.ASK_SINCE
    return replace(job, asked=job.asked + 1, waiting=True), verdict


def _left(job: Followed) -> tuple[str, ...]:
    """The epochs this view is done with: a late message of one must not bring it back."""
    if job.position is None:
        return job.past
    return (*job.past, job.position.epoch)[-_EPOCHS_REMEMBERED:]


def position_of(payload: Payload) -> Position | None:
    """Where an event or a snapshot stands; None for a job without a record."""
    try:
        return Position.check(payload.get("epoch"), payload.get("seq"))
    except BadRequest:
        return None


def _skipped(payload: Payload) -> int:
    skipped = payload.get("skipped", 0)
    return skipped if isinstance(skipped, int) and skipped > 0 else 0


def _outcome_of_state(snapshot: Payload) -> Outcome | None:
    state = snapshot.get("state")
    return state if state in TERMINAL else None
