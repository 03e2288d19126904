"""What one tail watches over one gateway's door: messages in; what to show, ask and say out. No I/O.

Two of a kind: jobs named one by one, and whatever happens in a queue. Both survive a new connection: they are
asked for their opening calls again, and go on from the positions they hold.
"""

from collections import deque
from collections.abc import Iterable
from typing import Any, Final, Protocol

from jobcast.cli import exits, follow
from jobcast.cli.follow import Followed, Verdict
from jobcast.cli.ledger import Ledger, Taken
from jobcast.cli.wire import JOB_SNAPSHOT, Call, Message
from jobcast.shared.position import Position

CATCHING_UP_AT_ONCE: Final = 20
"""Jobs of a queue subscribed one by one after a loss. A gateway bounds what one client may watch."""
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
    """Everything that happens in one queue, without an end.

    A queue has no position of its own. After a loss the jobs that were live are caught up with one by one, each
    from the position held; a job that came and went while there was no connection is not seen.
    """

    over = False
    settled = False

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._ledger = Ledger()
        self._listing = True
        self._behind: deque[str] = deque()
        self._catching: dict[str, int | None] = {}

    def opening(self) -> list[Call]:
        self._ledger.forget_calls()
        self._behind.clear()
        self._catching.clear()
        self._listing = True
        return [self._ledger.call("subscribe-to-queue", {"queueName": self._queue}, self._granted)]

    def take(self, message: Message) -> Taken:
        if message.event == "ack":
            return self._ledger.answer(message.payload)
        job_id = message.payload.get("jobId")
        if not isinstance(job_id, str) or message.payload.get("queue") != self._queue:
            return Taken()
        if self._listing and self._passes_over(job_id, message):
            return Taken()
        verdict = self._ledger.follow(job_id, message)
        if verdict is Verdict.APPLY:
            calls = self._caught_up(job_id)
            self._forget_finished()
            return Taken(show=(message,), calls=calls)
        if verdict is Verdict.DROP:
            return Taken()
        return Taken(calls=(self._catch_up(job_id, afresh=verdict is Verdict.ASK_AFRESH),))

    @property
    def unanswered(self) -> bool:
        return self._ledger.unanswered

    def exit_code(self) -> int:
        return exits.COMPLETED

    def resume(self) -> str:
        return f"jobcast tail --queue {self._queue}"

    def _passes_over(self, job_id: str, message: Message) -> bool:
        """Whether ``message`` goes past what a job is owed.

        On a new connection the queue's jobs are introduced where they stand now. A job known from before is
        caught up with from its own position instead, so that what it did in between is shown too.
        """
        known = self._ledger.jobs.get(job_id, Followed()).position
        at = follow.position_of(message.payload)
        return known is not None and at is not None and at.epoch == known.epoch and at.seq > known.seq

    def _granted(self, payload: dict[str, Any]) -> Taken:
        self._listing = False
        snapshot = payload.get("snapshot")
        jobs = snapshot.get("jobs") if isinstance(snapshot, dict) else None
        listed = {found["jobId"]: found for found in jobs or () if isinstance(found, dict) and "jobId" in found}
        known = self._ledger.jobs
        fresh = [Message.of(JOB_SNAPSHOT, found) for job_id, found in listed.items() if job_id not in known]
        self._behind.extend(job_id for job_id, job in known.items() if _is_behind(job, listed.get(job_id)))
        show = tuple(message for message in fresh if self._applies(message))
        return Taken(show=show, calls=self._next_behind())

    def _applies(self, message: Message) -> bool:
        return self._ledger.follow(message.payload["jobId"], message) is Verdict.APPLY

    def _next_behind(self) -> tuple[Call, ...]:
        calls = []
        while self._behind and len(self._catching) < CATCHING_UP_AT_ONCE:
            job_id = self._behind.popleft()
            if job_id in self._ledger.jobs:
                calls.append(self._catch_up(job_id))
        return tuple(calls)

    def _catch_up(self, job_id: str, *, afresh: bool = False) -> Call:
        self._catching[job_id] = None
        return self._ledger.subscribe(job_id, lambda payload: self._caught(job_id, payload), afresh=afresh)

    def _caught(self, job_id: str, payload: dict[str, Any]) -> Taken:
        snapshot = self._ledger.granted(job_id, payload)
        if snapshot.get("state") == "unknown":
            self._ledger.jobs.pop(job_id, None)
        seq = snapshot.get("seq")
        self._catching[job_id] = seq if isinstance(seq, int) else 0
        return Taken(calls=self._caught_up(job_id))

    def _caught_up(self, job_id: str) -> tuple[Call, ...]:
        """Leave the job's own subscription once the view has reached what its answer spoke of."""
        target = self._catching.get(job_id)
        job = self._ledger.jobs.get(job_id)
        if target is None or (job is not None and job.position is not None and job.position.seq < target):
            return ()
        del self._catching[job_id]
        leave = self._ledger.call("unsubscribe-from-job", {"jobId": job_id}, lambda _: Taken())
        return leave, *self._next_behind()

    def _forget_finished(self) -> None:
        if len(self._ledger.jobs) < 2 * FINISHED_REMEMBERED:
            return
        finished = [job_id for job_id, job in self._ledger.jobs.items() if job.ended]
        for job_id in finished[:-FINISHED_REMEMBERED]:
            del self._ledger.jobs[job_id]


def _is_behind(job: Followed, listed: dict[str, Any] | None) -> bool:
    """A job known from an earlier connection that went on, or is no longer among the live ones."""
    if listed is None:
        return job.ended is None
    at = follow.position_of(listed)
    return at is not None and job.position is not None and at.epoch == job.position.epoch and at.seq > job.position.seq
