"""Runs jobs and records how their attempts end, in two places, each in the order that can be told of truly.

The end of a job: BullMQ's move first, for it is the truth and checked by the lock, then the event. A worker that dies
between the two leaves the job finished in BullMQ and running in the journal, until the reconciler tells its end; the
other order would tell watchers of an end that BullMQ may refuse. The end of an attempt after which the job waits for
the next: the event first, under the lock, for once it is moved another worker may begin, and nothing of an older
attempt is taken after that. A worker that dies between these two leaves a job that stalls, and so does wait for its
next attempt.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final

from jobcast.shared import logs
from jobcast.shared.clock import now_ms
from jobcast.shared.errors import BadJobId, Unavailable
from jobcast.shared.events import Event, JobCancelled, JobFailed
from jobcast.shared.journal.contract import DAY_MS, Journal
from jobcast.shared.names import check_job_id
from jobcast.worker.context import Means
from jobcast.worker.dead_letters import Burial
from jobcast.worker.errors import CANCELLED, LockLost
from jobcast.worker.family import Family
from jobcast.worker.kept import kept_for
from jobcast.worker.registry import Registry
from jobcast.worker.reporter import Attempt, AttemptReporter, Counts
from jobcast.worker.run import Completed, Failed, Lost, Outcome, Postponed, Returned, Run, Withdrawn
from jobcast.worker.stopping import STOPPED
from jobcast.worker.supervise import surely
from jobcast.worker.taken import TakenJob
from jobcast.worker.values import error_text

MOST_POSTPONED: Final = 100
"""Starts of a job that used up no attempt. Beyond, each uses one: a limit that never resets must not be for ever."""
LONGEST_TRACE: Final = 4000
"""Characters of a handler's trace in the log; its end says most."""

SHORTEST_WAIT: Final = 1000
LONGEST_WAIT: Final = 60_000
"""Milliseconds a job waits, at least and at most, for a lock that another has; none at all would be a hot loop."""
MOST_WAITS: Final = 100
"""So often, an hour and a half at the longest wait; then each counts as a failure. A lock may never be free."""

_log = logs.get("runner")


class Runner:
    """Runs the jobs of all queues of this process. ``timeout`` in seconds, for handlers that have none of their own."""

    def __init__(  # noqa: PLR0913  what the attempts of a process share
        self,
        journal: Journal,
        registry: Registry,
        *,
        worker: str,
        timeout: float,
        means: Means,
        burial: Burial | None = None,
        family: Family | None = None,
    ) -> None:
        self.counts = Counts()
        self._journal = journal
        self._registry = registry
        self._worker = worker
        self._timeout = timeout
        self._burial = burial
        self._family = family
        self._runs: dict[TakenJob, Run] = {}
        self._means = means

    async def run(self, job: TakenJob) -> "asyncio.Future[Any] | None":
        """Run a job to its recorded end; gives back the handler that is still at work, if one had to be left behind."""
        if not await _can_be_told(job):
            return None
        attempt = Attempt(job.id, job.queue, job.name, job.attempt, job.max_attempts)
        reporter = AttemptReporter(self._journal, attempt, counts=self.counts)
        run = Run(job, reporter, self._worker, self._means)
        job.on_lost = run.stopping.lose
        family = self._family
        self._runs[job] = run
        try:
            if family is not None and job.parent_id is not None and job.parent_queue is not None:
                reporter.on_parent = family.changed
                await family.prepare(job.parent_queue, job.parent_id)
            handler = self._registry.find(job.queue, job.name)
            reading = await surely(lambda: self._journal.read(job.id)) if job.attempt > 1 else None
            outcome = await run.outcome(handler, self._registry.names(job.queue), self._timeout, reading)
            reporter.stop.ask("the attempt is over")
            await self._record(run, outcome)
            if family is not None and job.parent_id is not None:
                await family.child_ended(job.parent_id, completed=isinstance(outcome, Completed))
        except LockLost as error:
            _log.warning("a job was lost", job_id=job.id, queue=job.queue, error=str(error))
        except Unavailable as error:
            self.counts.unrecorded += 1
            _log.error(
                "Redis stayed away; what became of the job is not recorded",
                job_id=job.id,
                queue=job.queue,
                error=str(error),
            )
        finally:
            del self._runs[job]
            reporter.stop.ask("the attempt is over")
            await reporter.close()
        left = run.execution
        if left is None or left.done():
            return None
        _log.warning("a handler did not end when told to; it keeps its slot", job_id=job.id, queue=job.queue)
        return left

    async def look_for_cancels(self) -> None:
        """One round trip for all jobs at work: who asked for which to be stopped."""
        runs = [run for run in self._runs.values() if run.reporter.stop.reason is None]
        reasons = await self._journal.cancel_requests([run.job.id for run in runs])
        for run, reason in zip(runs, reasons, strict=True):
            if reason is not None:
                run.reporter.hear_cancel(reason)

    async def speak_up(self) -> None:
        """Say of the jobs that were told as stalled, while this worker was not heard of, that they go on."""
        runs = [run for run in self._runs.values() if run.reporter.stop.reason is None]
        for run, reading in zip(runs, await self._journal.read_many([run.job.id for run in runs]), strict=True):
            fields = reading.fields
            if fields.get("state") == b"stalled" and int(fields["attempt"]) == run.job.attempt:
                await run.reporter.say_alive()

    def shut_down(self) -> None:
        """Stop what is at work and have it put back into its queue."""
        for run in self._runs.values():
            run.stopping.shut_down()

    async def _record(self, run: Run, outcome: Outcome) -> None:
        match outcome:
            case Completed():
                await self._complete(run, outcome)
            case Failed():
                await self._fail(run, outcome)
            case Withdrawn():
                await self._withdraw(run, outcome.reason)
            case Returned():
                error = f"WorkerStopped: {STOPPED}; the job waits for another"
                await self._send_back(run, error, run.job.put_back, used=0)
            case Postponed():
                await self._postpone(run, outcome)
            case Lost():
                raise LockLost(f"the lock of job {run.job.id} was gone when it was to be renewed")

    async def _complete(self, run: Run, outcome: Completed) -> None:
        try:
            await surely(lambda: run.job.complete(outcome.result))
        except (LockLost, Unavailable):
            raise
        except Exception as error:  # noqa: BLE001  BullMQ refuses for reasons of its own: a failed child, say
            await self._fail(run, Failed(error_text(error), final=True, kind="refused"))
        else:
            run.job.verdict = ("", "")
            await self._tell(run, outcome.event, ttl=kept_for(run.job.keep(completed=True)))

    async def _fail(self, run: Run, outcome: Failed) -> None:
        job = run.job
        job.verdict = (outcome.kind, outcome.error)
        after = outcome.after if job.postponed < MOST_POSTPONED else None
        final = outcome.final or (after is None and not job.may_retry)
        _log.warning(
            "a job failed",
            job_id=job.id,
            queue=job.queue,
            name=job.name,
            attempt=job.attempt,
            final=final,
            kind=outcome.kind,
            error=outcome.error,
            trace=outcome.trace[-LONGEST_TRACE:] or None,
        )
        if final:
            await surely(lambda: job.fail(outcome.error, outcome.trace))
            event = self._failed(run, outcome.error, used=1, final=True)
            if self._burial is not None:
                await self._burial.bury(job, outcome.error, at=event.timestamp, attempts=event.attempts)
            await self._tell(run, event, ttl=kept_for(job.keep(completed=False)))
            return
        chance = random.random()  # noqa: S311  spreads retries, guards nothing
        delay, used = (job.retry_delay(chance, outcome.raised), 1) if after is None else (round(after * 1000), 0)
        again = job.retry if used else job.postpone
        await self._send_back(
            run, outcome.error, lambda: again(delay, outcome.error, outcome.trace), used=used, delay=delay
        )

    async def _postpone(self, run: Run, outcome: Postponed) -> None:
        """Wait by the job's back-off, counted in such waits, and not for ever.

        No attempt is used up: nothing was tried, and three attempts two seconds apart would be over long before a
        lock that is held for minutes is free.
        """
        job = run.job
        waits = job.postponed + 1
        if waits > MOST_WAITS:
            await self._fail(run, Failed(f"{outcome.error}, {MOST_WAITS} times in a row", raised=outcome.raised))
            return
        delay = job.retry_delay(random.random(), outcome.raised, made=waits)  # noqa: S311  spreads retries
        delay = min(max(delay, SHORTEST_WAIT), LONGEST_WAIT)
        await self._send_back(run, outcome.error, lambda: job.put_back(delay), used=0, delay=delay)

    async def _send_back(
        self, run: Run, error: str, move: Callable[[], Awaitable[None]], *, used: int, delay: int = 0
    ) -> None:
        """Say that the attempt is over and the job waits for the next, then have it wait."""
        await surely(run.job.hold)
        # A record lives a day after its last event: one that waits for longer must not be forgotten meanwhile.
        ttl = delay + DAY_MS if delay else None
        await self._tell(run, self._failed(run, error, used=used, final=False, delay=delay), ttl=ttl)
        await surely(move)

    async def _withdraw(self, run: Run, reason: str) -> None:
        job = run.job
        await surely(lambda: job.fail(CANCELLED + reason, ""))
        event = JobCancelled(
            job_id=job.id, queue=job.queue, attempt=job.attempt, timestamp=now_ms(), reason=reason or None
        )
        await self._tell(run, event, ttl=kept_for(job.keep(completed=False)))

    def _failed(self, run: Run, error: str, *, used: int, final: bool, delay: int = 0) -> JobFailed:
        job, now = run.job, now_ms()
        return JobFailed(
            job_id=job.id,
            queue=job.queue,
            attempt=job.attempt,
            timestamp=now,
            error=error,
            attempts=job.attempts_made + used,
            max_attempts=job.max_attempts,
            final=final,
            processing_time=run.processing_time,
            retry_at=now + delay if delay else None,
        )

    async def _tell(self, run: Run, event: Event, *, ttl: int | None = None) -> None:
        await run.reporter.append(event, ttl=ttl)


async def _can_be_told(job: TakenJob) -> bool:
    """Whether the journal may hold such an id; a job of another producer whose id it may not fails in BullMQ alone."""
    try:
        check_job_id(job.id)
    except BadJobId as error:
        _log.warning("a job was failed for its id", queue=job.queue, error=str(error))
        text = error_text(error)
    else:
        return True
    await surely(lambda: job.fail(text, ""))
    return False
