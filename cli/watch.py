"""What one tail watches over one gateway's door: messages in; what to show, ask and say out. No I/O.

Two of a kind: jobs named one by one, and whatever happens in a queue. Both survive a new connection: they are
asked for their opening calls again, and go on from the positions they hold.
"""

from collections.abc import Iterable
from typing import Any, Final, Protocol

from jobcast.cli import exits, follow
from jobcast.cli.follow import Followed, Verdict
from jobcast.cli.ledger import Ledger, Taken
from jobcast.cli.wire import JOB_SNAPSHOT, Call, Message
from jobcast.shared.circuit_words import QUEUE_CIRCUIT
from jobcast.shared.position import Position

FINISHED_REMEMBERED: Final = 500
"""Jobs of a queue that are over but still known, so that a late duplicate is not shown again."""


class Watch(Protocol):
    """What a tail needs of either kind."""

    def opening(self) -> list[Call]:
        """The calls to make on a new connection."""
        ...

    def take(self, message: Message) -> Taken:
        """Take one message. Raises ``Rejected`` when the gateway said no for good."""
        ...

    @property
    def unanswered(self) -> bool:
        """A call was made and its answer has not come."""
        ...

    @property
    def over(self) -> bool:
        """Everything watched has come to its end, though the last event of some may still be on its way."""
        ...

    @property
    def settled(self) -> bool:
        """Nothing more is to come."""
        ...

    def exit_code(self) -> int:
        """What the jobs' ends amount to."""
        ...

    def resume(self) -> str:
        """The command that goes on from here."""
        ...


class JobsWatch:
    """Jobs named by their ids, until each has ended."""

    def __init__(self, job_ids: Iterable[str], since: Position | None = None) -> None:
        self._ledger = Ledger()
        self._told_unknown: set[str] = set()
        first = Followed.resumed(since) if since else Followed()
        self._ledger.jobs = dict.fromkeys(job_ids, first)

    def opening(self) -> list[Call]:
        self._ledger.forget_calls()
        return [self._subscribe(job_id) for job_id, job in self._ledger.jobs.items() if not job.settled]

    def take(self, message: Message) -> Taken:
        if message.event == "ack":
            return self._ledger.answer(message.payload)
        job_id = message.payload.get("jobId")
        if not isinstance(job_id, str) or job_id not in self._ledger.jobs:
            return Taken()
        verdict = self._ledger.follow(job_id, message)
        if verdict is Verdict.APPLY:
            return Taken(show=(message,))
        if verdict is Verdict.DROP:
            return Taken()
        return Taken(calls=(self._subscribe(job_id, afresh=verdict is Verdict.ASK_AFRESH),))

    @property
    def unanswered(self) -> bool:
        return self._ledger.unanswered

    @property
    def over(self) -> bool:
        return all(job.ended for job in self._ledger.jobs.values())

    @property
    def settled(self) -> bool:
        return all(job.settled for job in self._ledger.jobs.values())

    def exit_code(self) -> int:
        codes = {"completed": exits.COMPLETED, "failed": exits.FAILED, "cancelled": exits.CANCELLED}
        return exits.worst({codes[job.ended] for job in self._ledger.jobs.values() if job.ended})

    def resume(self) -> str:
        open_jobs = [job_id for job_id, job in self._ledger.jobs.items() if not job.settled]
        command = f"jobcast tail {' '.join(open_jobs)}"
        since = self._ledger.jobs[open_jobs[0]].since if len(open_jobs) == 1 else None
        return f"{command} --since {since}" if since else command

    def _subscribe(self, job_id: str, *, afresh: bool = False) -> Call:
        return self._ledger.subscribe(job_id, lambda payload: self._granted(job_id, payload), afresh=afresh)

    def _granted(self, job_id: str, payload: dict[str, Any]) -> Taken:
        snapshot = self._ledger.granted(job_id, payload)
        if snapshot.get("state") != "unknown" or job_id in self._told_unknown:
            return Taken()
        self._told_unknown.add(job_id)
        return Taken(notes=(f"job {job_id} is not known yet; waiting for it",))


class QueueWatch:
    """Everything that happens in one queue, without an end; after a loss, everything that happened meanwhile."""

    over = False
    settled = False

    def __init__(self, queue: str, since: Position | None = None) -> None:
        self._queue = queue
        self._ledger = Ledger()
        self._since = since
        self._met = 0

    def opening(self) -> list[Call]:
        self._ledger.forget_calls()
        payload: dict[str, Any] = {"queueName": self._queue}
        if self._since is not None:
            payload["since"] = self._since._asdict()
        return [self._ledger.call("subscribe-to-queue", payload, self._granted)]

    def take(self, message: Message) -> Taken:
        if message.event == "ack":
            return self._ledger.answer(message.payload)
        if message.payload.get("queueName") == self._queue:
            return self._take_place(message)
        job_id = message.payload.get("jobId")
        place = message.payload.get("queuePosition")
        if isinstance(place, dict):
            self._move(follow.position_of(place) or self._since)
        # A job whose record is gone has no queue any more.
        if not isinstance(job_id, str) or message.payload.get("queue") not in (self._queue, None):
            return Taken()
        verdict = self._ledger.follow(job_id, message)
        if verdict not in (Verdict.APPLY, Verdict.DROP):
            # The gateway knows better which of the queue's jobs it has told; this one is met in its midst.
            del self._ledger.jobs[job_id]
            verdict = self._ledger.follow(job_id, message)
        self._met += 1
        return Taken(show=(message,)) if verdict is Verdict.APPLY else Taken()

    @property
    def unanswered(self) -> bool:
        return self._ledger.unanswered

    def exit_code(self) -> int:
        return exits.COMPLETED

    def resume(self) -> str:
        since = f" --since {self._since}" if self._since else ""
        return f"jobcast tail --queue {self._queue}{since}"

    def _take_place(self, message: Message) -> Taken:
        if message.event == "queue-position":
            self._move(follow.position_of(message.payload))
        elif message.event == "queue-reset":
            self._ledger.jobs.clear()
            self._since = None
        elif message.event == QUEUE_CIRCUIT:
            return Taken(show=(message,))
        return Taken()

    def _move(self, place: Position | None) -> None:
        # While the place stands still, what was shown since may be told again from there, and must be known then.
        if place != self._since and self._met >= FINISHED_REMEMBERED:
            self._met = 0
            self._forget_finished()
        self._since = place

    def _granted(self, payload: dict[str, Any]) -> Taken:
        snapshot = payload.get("snapshot")
        jobs = snapshot.get("jobs") if isinstance(snapshot, dict) else None
        if payload.get("recovered") is True:
            return Taken()
        # Mostly they came before the answer; where there was no room for all of them, the others are still to come.
        listed = [Message.of(JOB_SNAPSHOT, found) for found in jobs or () if isinstance(found, dict)]
        return Taken(show=tuple(message for message in listed if self._is_new(message)))

    def _is_new(self, message: Message) -> bool:
        job_id = message.payload.get("jobId")
        if not isinstance(job_id, str) or job_id in self._ledger.jobs:
            return False
        return self._ledger.follow(job_id, message) is Verdict.APPLY

    def _forget_finished(self) -> None:
        if len(self._ledger.jobs) < 2 * FINISHED_REMEMBERED:
            return
        finished = [job_id for job_id, job in self._ledger.jobs.items() if job.ended]
        for job_id in finished[:-FINISHED_REMEMBERED]:
            del self._ledger.jobs[job_id]
