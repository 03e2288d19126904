"""What becomes of a job, told by the journal and by BullMQ alike."""

import asyncio
import threading
import time
from typing import Any

import pytest

from jobcast import Cancelled, Context, SyncContext, Unrecoverable
from jobcast.shared.events import JobCancelled, JobCompleted, JobFailed, JobLog, JobProgress, JobQueued, JobStarted
from jobcast.shared.options import Backoff
from tests.support.waiting import wait_until
from tests.worker.conftest import Bench


async def test_a_job_is_told_from_queue_to_result(bench: Bench) -> None:
    @bench.handler()
    async def go(ctx: Context) -> dict[str, Any]:
        await ctx.progress(50, "half", details={"at": 1}, eta=1000)
        await ctx.log("hello", "info")
        return {"doubled": ctx.data["n"] * 2, "job": [ctx.queue, ctx.name, ctx.attempt, ctx.max_attempts]}

    job_id = await bench.submit({"n": 21})
    async with bench.worker():
        queued, started, progress, log, completed = await bench.ended(job_id)
    assert isinstance(queued, JobQueued)
    assert isinstance(started, JobStarted)
    assert isinstance(progress, JobProgress)
    assert (progress.progress, progress.percent, progress.stage, progress.eta) == (50, 50, "half", 1000)
    assert isinstance(log, JobLog)
    assert (log.line, log.level) == ("hello", "info")
    assert isinstance(completed, JobCompleted)
    assert completed.result == {"doubled": 42, "job": ["work", "go", 1, 1]}
    assert [event.seq for event in (queued, started, progress, log, completed)] == [1, 2, 3, 4, 5]
    assert (await bench.bullmq(job_id))["returnvalue"] == '{"doubled":42,"job":["work","go",1,1]}'


async def test_a_plain_function_runs_in_a_thread_with_the_same_calls(bench: Bench) -> None:
    """Trap 23: BullMQ's own worker fails on a synchronous processor."""

    @bench.handler()
    def go(ctx: SyncContext) -> str:
        ctx.progress({"percent": 30, "file": "a"})
        ctx.log("from a thread")
        ctx.check_cancelled()
        time.sleep(0.05)
        return threading.current_thread().name

    job_id = await bench.submit()
    async with bench.worker():
        events = await bench.ended(job_id)
    assert [event.kind for event in events] == [
        "job-queued", "job-queue-to-start", "job-progress", "job-log", "job-completed",
    ]  # fmt: skip
    assert events[-1].result == f"handler {job_id}"  # type: ignore[attr-defined]
    assert events[2].percent == 30  # type: ignore[attr-defined]


async def test_a_failure_is_tried_again_with_back_off_and_then_final(bench: Bench) -> None:
    """Trap 23 (jitter, async strategies) and 25: we decide about retries and tell each of them."""

    @bench.handler()
    async def go(ctx: Context) -> None:
        raise ValueError(f"attempt {ctx.attempt}")

    job_id = await bench.submit(attempts=3, backoff=Backoff("exponential", 100))
    async with bench.worker():
        events = await bench.ended(job_id)
    failures = [event for event in events if isinstance(event, JobFailed)]
    assert [(f.attempt, f.attempts, f.max_attempts, f.final) for f in failures] == [
        (1, 1, 3, False), (2, 2, 3, False), (3, 3, 3, True),
    ]  # fmt: skip
    assert [f.error for f in failures] == [f"ValueError: attempt {n}" for n in (1, 2, 3)]
    assert [None if f.retry_at is None else f.retry_at - f.timestamp for f in failures] == [100, 200, None]
    starts = [event.timestamp for event in events if isinstance(event, JobStarted)]
    assert failures[1].retry_at is not None
    assert starts[2] - failures[1].retry_at < 150
    assert await bench.state(job_id) == "failed"
    assert (await bench.bullmq(job_id))["failedReason"] == "ValueError: attempt 3"


async def test_an_unrecoverable_failure_is_not_tried_again(bench: Bench) -> None:
    @bench.handler()
    async def go(_: Context) -> None:
        raise Unrecoverable("the card is refused")

    job_id = await bench.submit(attempts=5)
    async with bench.worker():
        *_, last = await bench.ended(job_id)
    assert isinstance(last, JobFailed)
    assert (last.error, last.attempts, last.final) == ("Unrecoverable: the card is refused", 1, True)


async def test_a_job_nobody_handles_fails_and_names_those_that_are_handled(bench: Bench) -> None:
    @bench.handler()
    async def go(_: Context) -> None: ...

    job_id = await bench.submit(name="gone", attempts=5)
    async with bench.worker():
        *_, last = await bench.ended(job_id)
    assert isinstance(last, JobFailed)
    assert last.final
    assert last.error == "UnknownHandler: no handler for job 'gone' of queue 'work'; there are: go"


@pytest.mark.parametrize("result", ["x" * 70_000, object()])
async def test_a_result_no_event_can_carry_fails_the_job_for_good(bench: Bench, result: object) -> None:
    @bench.handler()
    async def go(_: Context) -> object:
        return result

    job_id = await bench.submit(attempts=3)
    async with bench.worker():
        *_, last = await bench.ended(job_id)
    assert isinstance(last, JobFailed)
    assert last.final
    assert last.error.startswith("PayloadTooLarge: " if isinstance(result, str) else "BadRequest: ")
    assert await bench.state(job_id) == "failed"


@pytest.mark.parametrize("asynchronous", [True, False])
async def test_a_handler_that_overstays_fails_by_its_time_out(bench: Bench, asynchronous: bool) -> None:
    """Trap 23: BullMQ has no time-out for a job."""
    late: list[str] = []
    ended = threading.Event()

    if asynchronous:

        @bench.handler(timeout=0.2)
        async def slow(_: Context) -> None:
            await asyncio.sleep(60)

        ended.set()
    else:

        @bench.handler(timeout=0.2)
        def stuck(ctx: SyncContext) -> None:
            time.sleep(2.5)
            try:
                ctx.log("too late")
            except Cancelled as error:
                late.append(str(error))
            ended.set()

    job_id = await bench.submit()
    async with bench.worker(concurrency=1):
        *_, last = await bench.ended(job_id)
        assert isinstance(last, JobFailed)
        assert last.error == "TimeoutError: the handler ran longer than 0.2 s"
        assert last.final
        await wait_until(ended.is_set)
    assert late == ([] if asynchronous else ["the handler ran longer than 0.2 s"])
    assert "job-log" not in await bench.kinds(job_id)


async def test_a_thread_that_is_stuck_keeps_its_slot_until_it_ends(bench: Bench) -> None:
    release = threading.Event()

    @bench.handler(timeout=0.1)
    def stuck(_: SyncContext) -> None:
        release.wait(10)

    @bench.handler(name="next")
    async def following(_: Context) -> None: ...

    first, second = await bench.submit(), await bench.submit(name="next")
    async with bench.worker(concurrency=1):
        await bench.ended(first)
        await asyncio.sleep(0.3)
        assert await bench.kinds(second) == ["job-queued"]
        release.set()
        await bench.ended(second)


@pytest.mark.parametrize("raised", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), StopIteration(1)])
@pytest.mark.parametrize("asynchronous", [True, False])
async def test_whatever_leaves_a_handler_the_worker_goes_on(
    bench: Bench, raised: BaseException, asynchronous: bool
) -> None:
    """Trap 20: a CancelledError that leaves a processor ends BullMQ's own worker in silence."""
    if asynchronous:

        @bench.handler()
        async def leave(_: Context) -> None:
            raise raised
    else:

        @bench.handler()
        def leave_thread(_: SyncContext) -> None:
            raise raised

    @bench.handler(name="next")
    async def following(_: Context) -> str:
        return "alive"

    first, second = await bench.submit(), await bench.submit(name="next")
    async with bench.worker(concurrency=1):
        *_, failed = await bench.ended(first)
        assert isinstance(failed, JobFailed)
        assert type(raised).__name__ in failed.error
        *_, completed = await bench.ended(second)
        assert isinstance(completed, JobCompleted)


async def test_a_plain_function_that_gives_a_coroutine_is_told_so(bench: Bench) -> None:
    async def inner() -> None: ...

    @bench.handler()
    def go(_: SyncContext) -> Any:
        return inner()

    job_id = await bench.submit()
    async with bench.worker():
        *_, last = await bench.ended(job_id)
    assert "declare it with async def" in last.error  # type: ignore[attr-defined]


async def test_a_job_cancelled_before_its_start_is_never_run(bench: Bench) -> None:
    ran: list[int] = []

    @bench.handler()
    async def go(_: Context) -> None:
        ran.append(1)

    job_id = await bench.submit(attempts=3)
    assert await bench.journal.request_cancel(job_id, "changed my mind")
    async with bench.worker():
        queued, cancelled = await bench.ended(job_id)
    assert isinstance(cancelled, JobCancelled)
    assert (queued.kind, cancelled.reason, ran) == ("job-queued", "changed my mind", [])
    assert await bench.state(job_id) == "failed"


@pytest.mark.parametrize("checks", [True, False])
async def test_an_async_handler_is_cancelled_whether_it_looks_or_not(bench: Bench, checks: bool) -> None:
    ended: list[str] = []

    @bench.handler()
    async def go(ctx: Context) -> None:
        try:
            while True:
                await asyncio.sleep(0.05 if checks else 60)
                await ctx.check_cancelled()
        except (Cancelled, asyncio.CancelledError) as error:
            ended.append(type(error).__name__)
            raise

    job_id = await bench.submit(attempts=3)
    async with bench.worker():
        await bench.seen(job_id, "job-queue-to-start")
        assert await bench.queues.cancel(job_id, "enough") == "cancelling"
        *_, last = await bench.ended(job_id)
    assert isinstance(last, JobCancelled)
    assert last.reason == "enough"
    assert ended == (["Cancelled"] if checks else ["CancelledError"])
    assert await bench.state(job_id) == "failed"


async def test_a_thread_hears_of_a_cancel_at_its_next_call(bench: Bench) -> None:
    @bench.handler()
    def go(ctx: SyncContext) -> None:
        while True:
            time.sleep(0.02)
            ctx.progress(10)

    job_id = await bench.submit()
    async with bench.worker():
        await bench.seen(job_id, "job-queue-to-start")
        asked = time.monotonic()
        await bench.queues.cancel(job_id, "enough")
        *_, last = await bench.ended(job_id)
    assert isinstance(last, JobCancelled)
    assert time.monotonic() - asked < 2


async def test_a_retry_by_hand_is_a_new_attempt_of_the_same_job(bench: Bench) -> None:
    @bench.handler()
    async def go(ctx: Context) -> int:
        if ctx.attempt == 1:
            raise ValueError("first")
        return ctx.attempt

    job_id = await bench.submit()
    async with bench.worker():
        *_, first = await bench.ended(job_id)
        assert first.kind == "job-failed"
        await bench.queues.retry(job_id)
        completed = await bench.seen(job_id, "job-completed")
    assert isinstance(completed, JobCompleted)
    assert (completed.attempt, completed.result) == (2, 2)


async def test_a_record_lives_as_long_as_bullmq_keeps_the_job(bench: Bench) -> None:
    @bench.handler()
    async def go(_: Context) -> None: ...

    usual = await bench.submit(remove_on_complete=True)
    long = await bench.submit(remove_on_complete=False)
    async with bench.worker():
        await bench.ended(usual)
        await bench.ended(long)
    day = 24 * 3600 * 1000
    assert day - 10_000 < await bench.commands.pttl(f"jobcast:{{{usual}}}:state") <= day
    assert await bench.commands.pttl(f"jobcast:{{{long}}}:state") > 365 * day
