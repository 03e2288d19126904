"""One attempt of one job from announcement to outcome; what becomes of the outcome is the runner's to record."""

import asyncio
import time
import traceback
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from jobcast.shared.clock import now_ms
from jobcast.shared.errors import BadRequest, PayloadTooLarge
from jobcast.shared.events import JobCompleted
from jobcast.shared.journal.contract import Reading
from jobcast.worker import announce, execution
from jobcast.worker.classify import UNKNOWN, classify
from jobcast.worker.context import Context, Means
from jobcast.worker.errors import LockHeld, cancelled_in
from jobcast.worker.family import Kin
from jobcast.worker.locks import JobLocks
from jobcast.worker.registry import Handler
from jobcast.worker.reporter import AttemptReporter
from jobcast.worker.stopping import Stopping, Why
from jobcast.worker.taken import TakenJob
from jobcast.worker.values import check_carried, error_text

CANCEL_GRACE: Final = 1.0
"""Seconds a handler has to end by itself after a request to cancel, before an async one is cancelled at its await."""
STOP_WAIT: Final = 2.0
"""Seconds a handler that was cancelled has for its ``finally`` before it is left behind."""
MOST_OVERTIME: Final = 600.0
"""Seconds, at most, a handler that outlived its time-out is waited for before its job may be tried again."""


@dataclass(frozen=True, slots=True)
class Completed:
    """``event`` is whole and known to fit."""

    event: JobCompleted
    result: Any


@dataclass(frozen=True, slots=True)
class Failed:
    """``final``: another attempt cannot help. ``after``: seconds until one that uses up none.

    ``kind``: what went wrong, in a word (see ``classify``).
    """

    error: str
    trace: str = ""
    final: bool = False
    kind: str = UNKNOWN
    after: float | None = None
    raised: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """Cancelled, on request or by the handler itself."""

    reason: str


@dataclass(frozen=True, slots=True)
class Returned:
    """Not finished because the worker stops: back into the queue."""


@dataclass(frozen=True, slots=True)
class Postponed:
    """It needs what another job has: back into the queue for a while, no attempt used up."""

    error: str
    raised: BaseException


@dataclass(frozen=True, slots=True)
class Lost:
    """No longer ours; nothing is recorded."""


Outcome = Completed | Failed | Withdrawn | Returned | Postponed | Lost


class Run:
    """One attempt at work."""

    def __init__(self, job: TakenJob, reporter: AttemptReporter, worker: str, means: Means) -> None:
        self.job = job
        self._means = means
        self.reporter = reporter
        self.execution: asyncio.Future[Any] | None = None
        self._worker = worker
        self.stopping = Stopping(reporter.stop)
        self._locks = JobLocks(means.locks, f"{job.id}/{job.token}", self.stopping.lose_lock)
        self._data = job.data
        self._began = time.monotonic()

    @property
    def why(self) -> Why | None:
        return Why.CANCEL if self.reporter.cancel_requested is not None else self.stopping.why

    @property
    def processing_time(self) -> int:
        return round((time.monotonic() - self._began) * 1000)

    async def outcome(
        self, handler: Handler | None, handlers: list[str], timeout: float, reading: Reading | None = None
    ) -> Outcome:
        """Announce the attempt, run its handler, judge what came of it; ``reading`` for any but the first attempt.

        Raises:
            Unavailable: the journal could not be told that it begins; the handler was not run.
        """
        queued = announce.queued(self.job, reading)
        if (judged := self._before_start(handler, handlers)) is not None or handler is None:
            await self.reporter.append(queued, born=self.job.queued_at)
            return self._stopped() if self.why is not None or judged is None else judged
        # In one step, for the first is hardly ever news. The second is left out if somebody asked for the job to stop.
        started = announce.started(self.job, reading, self._worker, now_ms())
        await self.reporter.append_all([queued, started], born=self.job.queued_at)
        if self.why is not None:
            return self._stopped()
        return await self._execute(handler, self.job.definition.timeout(handler.name) or handler.timeout or timeout)

    def _before_start(self, handler: Handler | None, handlers: list[str]) -> Outcome | None:
        if self.why is not None:
            return self._stopped()
        if self.job.deferred_failure is not None:
            return Failed(self.job.deferred_failure, final=True, kind="deferred")
        if handler is None:
            there = ", ".join(handlers) or "none"
            return Failed(
                f"UnknownHandler: no handler for job {self.job.name!r} of queue {self.job.queue!r}; there are: {there}",
                final=True,
                kind="unknown-handler",
            )
        return self._read_data(handler)

    def _read_data(self, handler: Handler) -> Failed | None:
        """Convert the data to what the handler takes; what does not fit fails before any work."""
        if handler.data is None:
            return None
        try:
            self._data = msgspec.convert(self.job.data, handler.data)
        except msgspec.ValidationError as error:
            return Failed(f"BadData: job {self.job.name}: {error}", final=True, kind="bad-data")
        return None

    async def _execute(self, handler: Handler, timeout: float) -> Outcome:
        self._began = time.monotonic()
        context = Context(self._data, self.reporter, self._locks, Kin(self.job), self._means)
        self.execution = running = execution.start(handler, context)
        running.add_done_callback(lambda _: self._locks.release_all())
        await _first(running, self.reporter.stop.asked, timeout)
        if not running.done():
            self.stopping.end(Why.TIMEOUT, f"the handler ran longer than {timeout:g} s")
            await self._bring_to_end(handler, running, self._began + timeout - time.monotonic())
        if not running.done() and self.why in {Why.TIMEOUT, Why.UNLOCKED} and self.job.may_retry:
            overtime = min(timeout, MOST_OVERTIME)
            await _first(running, self.stopping.hurry, overtime)
            if not running.done() and not self.stopping.hurry.done():
                reason = f"{self.reporter.stop.reason} and had not stopped {STOP_WAIT + overtime:g} s later"
                return Failed(
                    f"TimeoutError: {reason}; it is not run a second time beside itself", final=True, kind="timeout"
                )
        return self._judge(running)

    async def _bring_to_end(self, handler: Handler, running: "asyncio.Future[Any]", left: float) -> None:
        """Give the handler its chance, then cancel it; a thread is waited for, as far as its time reaches.

        A cancelled job whose thread still works is not over: it says so only when the thread ends, or has overstayed.
        One that overstayed and is to be tried again is kept, lock and all, until it ends (see ``_execute``): two
        attempts must not run side by side. When the worker stops the thread ends with it, and it is put back at once.
        """
        if self.why is Why.CANCEL:
            grace = min(CANCEL_GRACE, left) if handler.is_async else left
            await _first(running, self.stopping.hurry, grace)
        if not running.done():
            if handler.is_async:
                running.cancel()
            await asyncio.wait({running}, timeout=STOP_WAIT)

    def _judge(self, running: "asyncio.Future[Any]") -> Outcome:
        """A handler that returns completed, unless it was told before to stop, overstayed or lost its job or a lock.

        One that was not told has done its work, whatever was asked meanwhile.
        """
        error: BaseException | None = None
        if running.done():
            error = asyncio.CancelledError() if running.cancelled() else running.exception()
            if error is None and not self.reporter.stop.told and self.why not in {Why.TIMEOUT, Why.LOST, Why.UNLOCKED}:
                return self._completed(running.result())
        if self.why is not None:
            return self._stopped()
        if (cancelled := cancelled_in(error)) is not None:
            return Withdrawn(cancelled.reason)
        return self._raised(error)

    def _raised(self, error: BaseException | None) -> Outcome:
        match error:
            case asyncio.CancelledError():
                return Failed("CancelledError: it left the handler though nobody had asked the job to stop")
            case LockHeld():
                return Postponed(error_text(error), error)
            case None:
                return Failed("the handler ended without a result")
            case _:
                trace = "".join(traceback.format_exception(error))
                ruling = classify(error, self.job.definition.errors, time.time())
                return Failed(error_text(error), trace, ruling.never, ruling.kind, ruling.after, error)

    def _stopped(self) -> Outcome:
        reason = self.reporter.stop.reason or ""
        match self.why:
            case Why.CANCEL:
                return Withdrawn(reason)
            case Why.TIMEOUT:
                return Failed(f"TimeoutError: {reason}", kind="timeout")
            case Why.UNLOCKED:
                return Failed(f"LockLost: {reason}", kind="lock-lost")
            case Why.SHUTDOWN:
                return Returned()
            case _:
                return Lost()

    def _completed(self, result: Any) -> Outcome:
        """Checked before BullMQ hears of it: what the journal cannot carry must not count as done."""
        now = now_ms()
        event = JobCompleted(
            job_id=self.job.id,
            queue=self.job.queue,
            attempt=self.job.attempt,
            timestamp=now,
            result=result,
            processing_time=self.processing_time,
            total_time=max(0, now - self.job.queued_at),
        )
        if result is None:  # most results, and there is nothing in it to be checked
            return Completed(event, None)
        try:
            check_carried(event, result)
            return Completed(event, msgspec.json.decode(msgspec.json.encode(result)))
        except (PayloadTooLarge, BadRequest) as error:
            return Failed(error_text(error), final=True, kind="bad-result")


async def _first(running: "asyncio.Future[Any]", signal: "asyncio.Future[None]", timeout: float) -> None:
    """Wait for the handler, the signal, or the time. ``asyncio.wait`` would do, at twice the price."""
    if running.done() or signal.done():
        return
    loop = asyncio.get_running_loop()
    first = loop.create_future()

    def wake(*_: object) -> None:
        if not first.done():
            first.set_result(None)

    timer = loop.call_later(max(0.0, timeout), wake)
    running.add_done_callback(wake)
    signal.add_done_callback(wake)
    try:
        await first
    finally:
        timer.cancel()
        running.remove_done_callback(wake)
        signal.remove_done_callback(wake)
