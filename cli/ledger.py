"""The jobs of one tail by their ids, and the calls a gateway has not answered yet. No I/O."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jobcast.cli import follow
from jobcast.cli.exits import Rejected
from jobcast.cli.follow import Followed, Verdict
from jobcast.cli.wire import JOB_SNAPSHOT, Call, Message


@dataclass(frozen=True, slots=True)
class Taken:
    """``again`` is a refusal that a later try may not meet; a refusal for good is raised."""

    show: tuple[Message, ...] = ()
    calls: tuple[Call, ...] = ()
    notes: tuple[str, ...] = ()
    again: Rejected | None = None


class Ledger:
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
        if job.since is not None and not afresh:
            payload["since"] = job.since._asdict()
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
