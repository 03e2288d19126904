"""One attempt's hand on the journal: clamps, throttles, appends in order, one event at a time.

What a fault costs: progress is kept and told later, for a newer value replaces it anyway; a log line and a state event
are sent again with the same idempotency key until ``PATIENCE`` is over, and the handler waits meanwhile. A line that
could not be recorded by then is the handler's to know: it is told by an error. What waits is bounded: one progress, and
``MOST_LINES`` lines, for a handler that does not wait for its lines.
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from jobcast.shared import logs
from jobcast.shared.clock import now_ms
from jobcast.shared.errors import RateLimited, Refused, Unavailable
from jobcast.shared.events import Event, JobLog, JobProgress
from jobcast.shared.journal.contract import Appended, Journal, Key, Writer
from jobcast.worker.errors import Cancelled
from jobcast.worker.eta import Eta
from jobcast.worker.supervise import PATIENCE
from jobcast.worker.throttle import Throttle
from jobcast.worker.values import check_carried, read_line, read_progress

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 2.0
MOST_LINES: Final = 1000
"""Lines of one attempt that may wait to be recorded: at 8 KiB a line, 8 MiB."""
ALIVE: Final = "the worker is heard of again; the job goes on"

_log = logs.get("reporter")


@dataclass(frozen=True, slots=True)
class Attempt:
    """Which attempt of which job speaks. ``number`` only grows: also across stalls and retries by hand."""

    job_id: str
    queue: str
    name: str
    number: int = 1
    max_attempts: int = 1


@dataclass(slots=True)
class Counts:
    """What went wrong without stopping a job, since the process began."""

    refused: int = 0
    unrecorded: int = 0


@dataclass(slots=True)
class Stop:
    """Whether the attempt is to end, and why. Set once; the first reason stands.

    ``told``: ``Cancelled`` was raised for it, so that a handler which returns after that has not done its work.
    """

    reason: str | None = None
    told: bool = False
    asked: "asyncio.Future[None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    """Done once it is to end. No Event: to wait for one costs a task, and every attempt waits for this."""

    def ask(self, reason: str) -> None:
        if self.reason is None:
            self.reason = reason
            if not self.asked.done():
                self.asked.set_result(None)

    def check(self) -> None:
        """Raise ``Cancelled`` when the attempt is to end."""
        if self.reason is not None:
            self.told = True
            raise Cancelled(self.reason)


class AttemptReporter:
    """Tells the journal what one attempt does. Every call raises ``Cancelled`` once the attempt is to end."""

    def __init__(self, journal: Journal, attempt: Attempt, *, counts: Counts | None = None) -> None:
        self.attempt = attempt
        self.stop = Stop()
        self.cancel_requested: str | None = None
        self.refused: Refused | None = None
        self.on_parent: Callable[[str], None] = lambda _: None
        """Called with the id of a parent whose numbers an event of this attempt changed."""
        self.journal = journal
        self._counts = counts or Counts()
        self._writer = Writer()
        self._throttle: Throttle[JobProgress] = Throttle()
        self._unsure: tuple[JobProgress, Key] | None = None
        self._eta = Eta()
        self._lines = 0
        self._turn = asyncio.Lock()
        self._flusher: asyncio.Task[None] | None = None
        self._share: float | None = None

    async def progress(
        self, value: Any, stage: str | None = None, details: Any = None, eta: float | None = None
    ) -> None:
        """Say how far the job is: 0-100 (clamped) or an object; ``eta`` in ms, reckoned where none is given.

        Told at once, or within the throttle's interval if no newer value replaces it.

        Raises:
            Cancelled: the attempt is to end.
            BadRequest, PayloadTooLarge: nothing that can be told.
        """
        self.stop.check()
        said = read_progress(value, stage, details, eta).after(self._share)
        if said.percent is not None:
            reckoned = self._eta.update(said.percent, time.monotonic())
            said = said if said.eta is not None else replace(said, eta=reckoned)
        event = JobProgress(
            **self._common(),
            progress=said.progress,
            percent=said.percent,
            details=said.details,
            stage=said.stage,
            eta=said.eta,
        )
        if details is not None or isinstance(value, dict):
            check_carried(
                event, said.progress, details
            )  # now, where the handler can hear of it; it may be sent much later
        if self._throttle.offer(event, said.stage, time.monotonic()):
            await self._flush_if_due()
        else:
            self._flush_later()
            await asyncio.sleep(0)  # a handler that only reports must not keep the event loop for itself

    async def log(self, line: str, level: str | None = None) -> None:
        """Say one line, cut at 8 KiB with a mark. Waits until the journal has it: that is what bounds the rate.

        Raises:
            Cancelled: the attempt is to end.
            BadRequest: no text.
            Unavailable: Redis stayed away for a minute and the line is lost; a handler that can do without it goes on.
            RateLimited: a thousand lines of this attempt wait already; this one is not recorded.
        """
        self.stop.check()
        line, level = read_line(line, level)
        if self._lines >= MOST_LINES:
            raise RateLimited(
                f"{MOST_LINES} lines of job {self.attempt.job_id} wait to be recorded; wait for each log()"
            )
        self._lines += 1
        try:
            await self.append(JobLog(**self._common(), line=line, level=level), patience=PATIENCE, until_stopped=True)
        except Unavailable as error:
            self._counts.unrecorded += 1
            _log.error("a log line was not recorded: Redis stayed away", job_id=self.attempt.job_id)
            raise Unavailable(f"the line was not recorded within {PATIENCE:g} s: {error}") from error
        finally:
            self._lines -= 1

    async def check_cancelled(self) -> None:
        """Raise ``Cancelled`` if the attempt is to end. Costs no round trip; a request is seen within about 1 s."""
        self.stop.check()
        await asyncio.sleep(0)

    async def say_alive(self) -> None:
        """Say that the attempt goes on, after it was told as stalled: by a line, for no event says it better."""
        await self.append(JobLog(**self._common(), line=ALIVE, level="warning"))

    async def append(
        self,
        event: Event,
        *,
        born: int = 0,
        ttl: int | None = None,
        patience: float = PATIENCE,
        until_stopped: bool = False,
    ) -> Appended | None:
        """Record an event after all progress said before it; None when the journal refused it.

        Raises:
            Unavailable: Redis stayed away for ``patience`` seconds, the wait for those said before included.
            Cancelled: with ``until_stopped``, the attempt is to end before Redis came back.
        """
        answers = await self.append_all([event], born=born, ttl=ttl, patience=patience, until_stopped=until_stopped)
        return answers[0]

    async def append_all(
        self,
        events: Sequence[Event],
        *,
        born: int = 0,
        ttl: int | None = None,
        patience: float = PATIENCE,
        until_stopped: bool = False,
    ) -> list[Appended | None]:
        """Record several events in one step; see :meth:`append`. A request to cancel leaves out those after it."""
        deadline = time.monotonic() + patience
        async with self._turn:
            if until_stopped:
                self.stop.check()
                if time.monotonic() > deadline:
                    raise Unavailable("what was said before it took all the time there was")
            keys: list[Key] = []
            pause = FIRST_PAUSE
            while True:
                try:
                    # Once the events were offered, newer progress waits: its key would be later than theirs, which the
                    # journal would then take for some it knows.
                    if not keys:
                        await self._tell_kept()
                        keys = [self._writer.key() for _ in events]
                    answers = await self.journal.append_all(events, keys, born=born, ttl=ttl)
                    return [self._heard(answer) for answer in answers]
                except Unavailable:
                    if time.monotonic() + pause > deadline:
                        raise
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311  spreads retries, guards nothing
                pause = min(pause * 2, LONGEST_PAUSE)
                if until_stopped:
                    self.stop.check()

    async def close(self) -> None:
        """End the background flush. What was said and not yet told is gone unless an event followed it."""
        flusher, self._flusher = self._flusher, None
        if flusher is not None:
            flusher.cancel()
            await asyncio.wait([flusher])

    def _common(self) -> dict[str, Any]:
        attempt = self.attempt
        return {
            "job_id": attempt.job_id,
            "queue": attempt.queue,
            "attempt": attempt.number,
            "timestamp": now_ms(),
        }

    async def _flush(self) -> None:
        """Tell the kept progress, with the turn held. A Redis that is away leaves it kept."""
        try:
            await self._tell_kept()
        except Unavailable:
            self._flush_later()

    async def _tell_kept(self) -> None:
        event = self._throttle.take(time.monotonic())
        if event is None:
            return
        # Perhaps only the answer was lost: the same value under the same key is one event.
        unsure, self._unsure = self._unsure, None
        key = unsure[1] if unsure is not None and unsure[0] is event else self._writer.key()
        try:
            (answer,) = await self.journal.append_all([event], [key])
        except Unavailable:
            self._unsure = event, key
            self._throttle.restore(event)
            raise
        self._heard(answer)

    def _flush_later(self) -> None:
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush_when_due(), name="flush progress")

    async def _flush_when_due(self) -> None:
        while (wait := self._throttle.wait(time.monotonic())) is not None and self.stop.reason is None:
            await asyncio.sleep(max(wait, FIRST_PAUSE / 10))
            await self._flush_if_due()

    async def _flush_if_due(self) -> None:
        """Asked again with the turn held: whoever had it before may have told the value, and a newer one must wait."""
        async with self._turn:
            if self._throttle.due(time.monotonic()):
                await self._flush()
            elif self._throttle.wait(time.monotonic()) is not None:
                self._flush_later()

    def _heard(self, answer: Appended | Refused) -> Appended | None:
        if isinstance(answer, Refused):
            self._refused(answer)
            return None
        if answer.cancelling is not None:
            self.hear_cancel(answer.cancelling)
        self._share = answer.share
        if answer.parent is not None:
            self.on_parent(answer.parent)
        return answer

    def hear_cancel(self, reason: str) -> None:
        """Somebody asked for the job to be stopped."""
        if self.stop.reason is None:
            self.cancel_requested = reason
        self.stop.ask(reason)

    def _refused(self, refused: Refused) -> None:
        self.refused = refused
        self._counts.refused += 1
        _log.warning("the journal refused an event", job_id=self.attempt.job_id, reason=str(refused))
