"""Reporting from a program that is no worker of ours: the same events, the same law, no BullMQ.

    async with Reporter.connect(queue="reports", name="monthly") as report:
        await report.progress(40, "rendering")
        await report.complete({"pages": 12})

Leaving the block completes the job, an exception fails it, ``Cancelled`` cancels it: also one that was caught inside.
"""

import os
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

from jobcast.shared.clock import now_ms
from jobcast.shared.errors import NotPossible, Refused, Unavailable
from jobcast.shared.events import Event, JobCancelled, JobCompleted, JobFailed, JobQueued, JobStarted
from jobcast.shared.journal.contract import Life, Reading
from jobcast.shared.journal.redis import RedisJournal
from jobcast.shared.keys import Keys
from jobcast.shared.names import check_job_id, check_job_name, check_queue_name
from jobcast.shared.redis import connect
from jobcast.shared.settings import load
from jobcast.shared.states import QUEUED
from jobcast.worker.bridge import Blocking, Bridge, in_a_thread
from jobcast.worker.errors import cancelled_in
from jobcast.worker.reporter import Attempt, AttemptReporter
from jobcast.worker.values import check_carried, error_text

CANCEL_CHECK: Final = 0.5
"""Seconds between two looks for a request to cancel, however often ``check_cancelled`` is called."""
PROGRAM: Final = "reporter:"
"""How the worker of such a job is named: BullMQ does not know it, and only its program can tell its end."""


class Reporter(AttemptReporter):
    """Reports one job of a program of your own; made by :meth:`connect`."""

    _looked_at = 0.0
    _began = 0.0
    _queued_at = 0
    _over = False

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, redis_url: str | None = None, *, queue: str, name: str, job_id: str | None = None
    ) -> "AsyncIterator[Reporter]":
        """Announce the job, start it, and record its end when the block is left.

        Without ``redis_url`` the settings of the environment hold. Without ``job_id`` one is made up; an id that was
        reported before goes on as its next attempt.

        Raises:
            BadQueueName, BadJobId, BadRequest, BadSettings: before anything reaches Redis.
            NotPossible: the journal takes no report of this job: it belongs to another queue, say.
            Unavailable: Redis is away.
        """
        settings = load(os.environ)
        check_queue_name(queue)
        check_job_name(name)
        job_id = check_job_id(job_id) if job_id is not None else uuid.uuid4().hex
        client = connect(redis_url or settings.redis_url, name="jobcast-reporter", connections=4)
        try:
            life = Life(settings.history, round(settings.life * 1000))
            journal = RedisJournal(client, Keys(settings.key_prefix), life)
            reading = await journal.read(job_id)
            report = cls(journal, Attempt(job_id, queue, name, _next_attempt(reading)))
            await report._begin(known=reading.position is not None)
            try:
                yield report
            except BaseException as error:
                try:
                    await report._leave(error)
                except NotPossible as refused:
                    error.add_note(str(refused))  # what went wrong first is what the program must hear
                raise
            else:
                await report._leave(None)
            finally:
                await report.close()
        finally:
            await client.aclose()

    @property
    def job_id(self) -> str:
        return self.attempt.job_id

    async def check_cancelled(self) -> None:
        """Raise ``Cancelled`` if somebody asked for the job to be stopped. Asks Redis at most twice a second."""
        if self.stop.reason is None and time.monotonic() - self._looked_at >= CANCEL_CHECK:
            self._looked_at = time.monotonic()
            try:
                (reason,) = await self.journal.cancel_requests([self.attempt.job_id])
            except Unavailable:
                reason = None  # nobody can be asked; the job goes on
            if reason is not None:
                self.hear_cancel(reason)
        await super().check_cancelled()

    async def complete(self, result: Any = None) -> None:
        """Record the job as completed; nothing can be reported after it.

        Raises:
            BadRequest, PayloadTooLarge: the result cannot be an event; the job is still open.
            NotPossible: the job is already over, or it has gone on without us.
        """
        total = max(0, now_ms() - self._queued_at)
        event = JobCompleted(**self._common(), result=result, processing_time=self._elapsed(), total_time=total)
        check_carried(event, result)
        await self._finish(event)

    async def fail(self, error: BaseException | str) -> None:
        """Record the job as failed for good; nothing can be reported after it."""
        number = self.attempt.number
        event = JobFailed(
            **self._common(),
            error=error if isinstance(error, str) else error_text(error),
            attempts=number,
            max_attempts=number,
            final=True,
            processing_time=self._elapsed(),
        )
        await self._finish(event)

    async def cancelled(self, reason: str | None = None) -> None:
        """Record the job as cancelled; nothing can be reported after it."""
        await self._finish(JobCancelled(**self._common(), reason=reason))

    async def _finish(self, event: Event) -> None:
        if self._over:
            raise NotPossible(f"job {self.job_id} is already over; its end can be reported once")
        self._over = True
        self.stop.ask("the job is over")
        await self._taken(event)

    async def _taken(self, event: Event, *, born: int = 0) -> None:
        """Append what must not be refused in silence."""
        if await self.append(event, born=born) is None and self.refused is not None:
            raise NotPossible(_sentence(self.attempt, self.refused)) from self.refused

    async def _begin(self, *, known: bool) -> None:
        self._began, self._queued_at = time.monotonic(), now_ms()
        # A record that is known keeps its life: only a new one is told when it was born.
        queued = JobQueued(**self._common(), name=self.attempt.name, max_attempts=self.attempt.number)
        await self._taken(queued, born=0 if known else self._queued_at)
        await self._taken(JobStarted(**self._common(), queue_to_start_time=0, worker=f"{PROGRAM}{os.getpid()}"))

    async def _leave(self, error: BaseException | None) -> None:
        if self._over:
            return
        cancelled = cancelled_in(error)
        if cancelled is not None or (error is None and self.stop.told):
            await self.cancelled(cancelled.reason if cancelled is not None else self.stop.reason)
        elif error is None:
            await self.complete(None)
        else:
            await self.fail(error)

    def _elapsed(self) -> int:
        return round((time.monotonic() - self._began) * 1000)


class SyncReporter(Blocking):
    """:class:`Reporter` for a plain program: the same calls, blocking, over an event loop in a thread."""

    def __init__(self, bridge: Bridge, reporter: Reporter) -> None:
        super().__init__(bridge, reporter)
        self._reporter = reporter

    @classmethod
    @contextmanager
    def connect(
        cls, redis_url: str | None = None, *, queue: str, name: str, job_id: str | None = None
    ) -> "Iterator[SyncReporter]":
        """See :meth:`Reporter.connect`."""
        connection = Reporter.connect(redis_url, queue=queue, name=name, job_id=job_id)
        with in_a_thread(connection) as (bridge, reporter):
            yield cls(bridge, reporter)

    @property
    def job_id(self) -> str:
        return self._reporter.job_id

    def complete(self, result: Any = None) -> None:
        """See :meth:`Reporter.complete`."""
        self._bridge.call(self._reporter.complete(result))

    def fail(self, error: BaseException | str) -> None:
        """See :meth:`Reporter.fail`."""
        self._bridge.call(self._reporter.fail(error))


def _sentence(attempt: Attempt, refused: Refused) -> str:
    job = f"job {attempt.job_id}"
    match refused.reason:
        case "other-queue":
            return f"{job} belongs to another queue than {attempt.queue}; report under another id"
        case "stale-attempt" | "closed" | "superseded":
            return f"{job} has gone on without this report of attempt {attempt.number}: it is {refused.state}"
    return f"{job} cannot be reported: {refused}"


def _next_attempt(reading: Reading) -> int:
    """The attempt a new report is: the one that waits to be started, or the one after the last."""
    if reading.position is None:
        return 1
    last = int(reading.fields["attempt"])
    return last if reading.fields["state"].decode() in QUEUED else last + 1
