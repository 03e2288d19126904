"""What one tail watches over one gateway's door: messages in; what to show, ask and say out. No I/O.

Two of a kind: jobs named one by one, and whatever happens in a queue. Both survive a new connection: they are
asked for their opening calls again, and go on from the positions they hold.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from jobcast.cli import exits, follow
from jobcast.cli.exits import Rejected
from jobcast.cli.follow import Followed, Verdict
from jobcast.cli.wire import Call, Message
from jobcast.shared.position import Position
from jobcast.shared.snapshot import JOB_SNAPSHOT

CATCHING_UP_AT_ONCE: Final = 20
"""Jobs of a queue subscribed one by one after a loss. A gateway bounds what one client may watch."""
FINISHED_REMEMBERED: Final = 500
"""Jobs of a queue that are over but still known, so that a late duplicate is not shown again."""


@dataclass(frozen=True, slots=True)
class Taken:
    """``again`` is a refusal that a later try may not meet; a refusal for good is raised."""

    show: tuple[Message, ...] = ()
    calls: tuple[Call, ...] = ()
    notes: tuple[str, ...] = ()
    again: Rejected | None = None


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


class _Ledger:
    """Jobs by id and the calls that have not been answered."""

    def __init__(self) -> None:
        self.jobs: dict[str, Followed] = {}
        self._calls: dict[int, Callable[[dict[str, Any]], Taken]] = {}
        self._number = 0

    @property
    def unanswered(self) -> bool:
        return bool(self._calls)

    def forget_calls(self) -> None:
        self._calls.clear()
        self.jobs = {job_id: follow.reconnected(job) for job_id, job in self.jobs.items()}

    def call(self, event: str, payload: dict[str, Any], answered: Callable[[dict[str, Any]], Taken]) -> Call:
        self._number += 1
        self._calls[self._number] = answered
        return Call(event, payload, self._number)

    def subscribe(self, job_id: str, answered: Callable[[dict[str, Any]], Taken], *, afresh: bool = False) -> Call:
        job = self.jobs[job_id]
        self.jobs[job_id] = follow.subscribing(job)
        payload: dict[str, Any] = {"jobId": job_id}
        if job.position is not None and not afresh:
            payload["since"] = job.position._asdict()
        return self.call("subscribe-to-job", payload, answered)

    def answer(self, payload: dict[str, Any]) -> Taken:
        number = payload.get("id")
        answered = self._calls.pop(number, None) if isinstance(number, int) else None
        if answered is None:
            return Taken()
        if payload.get("ok") is True:
            return answered(payload)
        refusal = Rejected(
            str(payload.get("code", "error")),
            str(payload.get("message", "the gateway refused the subscription without saying why")),
            again=payload.get("retryable") is True,
        )
        if refusal.again:
            return Taken(again=refusal)
        raise refusal

    def granted(self, job_id: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Note the grant; returns the snapshot that came with it."""
        snapshot = payload.get("snapshot")
        snapshot = snapshot if isinstance(snapshot, dict) else {}
        job = self.jobs.get(job_id)
        if job is not None:
            self.jobs[job_id] = follow.take_answer(job, snapshot, recovered=payload.get("recovered") is True)
        return snapshot

    def follow(self, job_id: str, message: Message) -> Verdict:
        job = self.jobs.get(job_id, Followed())
        if message.event == JOB_SNAPSHOT:
            job, verdict = follow.take_snapshot(job, message.payload)
        else:
            job, verdict = follow.take_event(job, message.event, message.payload)
        self.jobs[job_id] = job
        return verdict


class JobsWatch:
    """Jobs named by their ids, until each has ended."""

    def __init__(self, job_ids: Iterable[str], since: Position | None = None) -> None:
        self._ledger = _Ledger()
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
        position = self._ledger.jobs[open_jobs[0]].position if len(open_jobs) == 1 else None
        return f"{command} --since {position}" if position else command

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
        self._ledger = _Ledger()
        self._behind: deque[str] = deque()
        self._catching: dict[str, int | None] = {}

    def opening(self) -> list[Call]:
        self._ledger.forget_calls()
        self._behind.clear()
        self._catching.clear()
        return [self._ledger.call("subscribe-to-queue", {"queueName": self._queue}, self._granted)]

    def take(self, message: Message) -> Taken:
        if message.event == "ack":
            return self._ledger.answer(message.payload)
        job_id = message.payload.get("jobId")
        if not isinstance(job_id, str) or message.payload.get("queue") != self._queue:
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

    def _granted(self, payload: dict[str, Any]) -> Taken:
        snapshot = payload.get("snapshot")
        listed: Sequence[Any] = snapshot.get("jobs") or () if isinstance(snapshot, dict) else ()
        shown = []
        for found in listed:
            job_id = found.get("jobId") if isinstance(found, dict) else None
            if isinstance(job_id, str) and job_id not in self._ledger.jobs:
                message = Message.of(JOB_SNAPSHOT, found)
                if self._ledger.follow(job_id, message) is Verdict.APPLY:
                    shown.append(message)
        fresh = {message.payload["jobId"] for message in shown}
        self._behind.extend(
            job_id for job_id, job in self._ledger.jobs.items() if job.ended is None and job_id not in fresh
        )
        return Taken(show=tuple(shown), calls=self._next_behind())

    def _next_behind(self) -> tuple[Call, ...]:
        calls = []
        while self._behind and len(self._catching) < CATCHING_UP_AT_ONCE:
            calls.append(self._catch_up(self._behind.popleft()))
        return tuple(calls)

    def _catch_up(self, job_id: str, *, afresh: bool = False) -> Call:
        self._catching[job_id] = None
        return self._ledger.subscribe(job_id, lambda payload: self._caught(job_id, payload), afresh=afresh)

    def _caught(self, job_id: str, payload: dict[str, Any]) -> Taken:
        snapshot = self._ledger.granted(job_id, payload)
        if snapshot.get("state") == "unknown":
            del self._ledger.jobs[job_id]
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
