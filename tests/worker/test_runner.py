"""What becomes of a job, told by the journal and by BullMQ alike."""

import asyncio
import math
import threading
import time
from typing import Any

import pytest
from bullmq import Queue
from structlog.testing import capture_logs

from jobcast import Context, SyncContext, Unrecoverable
from jobcast.shared.events import JobCompleted, JobFailed, JobLog, JobProgress, JobQueued, JobStarted
from jobcast.shared.options import Backoff
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
    assert starts[2] - failures[1].retry_at < 500
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


@pytest.mark.parametrize("result", ["x" * 70_000, object(), math.nan, {"a": [1, {"mean": -math.inf}]}])
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


@pytest.mark.parametrize(
    ("keep", "days"),
    [
        (True, 1), (False, 30), (5, 1), ({"count": 5}, 1), ({"age": 60}, 1), ({"age": 3 * 86400, "count": 5}, 3),
        ({}, 30), (-1, 30), ({"age": 10**15}, 3650),
    ],
)  # fmt: skip
async def test_a_record_lives_as_long_as_bullmq_keeps_the_job(bench: Bench, keep: Any, days: int) -> None:
    """A count names no time: under a policy that evicts nothing, ten years for each would fill Redis."""

    @bench.handler()
    async def go(_: Context) -> None: ...

    queue = Queue("work", {"connection": bench.client})
    job = await queue.add("go", {}, {"removeOnComplete": keep})
    async with bench.worker():
        await bench.ended(job.id)
    day = 24 * 3600 * 1000
    assert days * day - 10_000 < await bench.commands.pttl(f"jobcast:{{{job.id}}}:state") <= days * day


async def test_a_failing_handler_is_told_in_the_log(bench: Bench) -> None:
    @bench.handler()
    async def go(_: Context) -> None:
        raise ValueError("x" * 9000)

    with capture_logs() as logs:
        job_id = await bench.submit(attempts=2)
        async with bench.worker():
            await bench.ended(job_id)
    told = [each for each in logs if each["event"] == "a job failed"]
    assert [(each["attempt"], each["final"], each["log_level"]) for each in told] == [
        (1, False, "warning"), (2, True, "warning"),
    ]  # fmt: skip
    assert (told[0]["job_id"], told[0]["queue"], told[0]["name"]) == (job_id, "work", "go")
    assert told[0]["error"].startswith("ValueError: xxx")
    assert told[0]["trace"].endswith("xxx\n")
    assert len(told[0]["trace"]) <= 4000


async def test_progress_travels_by_the_journal_alone_and_never_pushes_an_end_out(bench: Bench) -> None:
    """Trap 24: BullMQ's event stream is the whole queue's and trimmed, so a progress flood evicts completions."""

    @bench.handler()
    async def go(ctx: Context) -> str:
        for number in range(400):
            await ctx.progress(number / 4, f"stage {number}")
        return "done"

    job_id = await bench.submit()
    async with bench.worker():
        events = await bench.ended(job_id)
    assert events[-1].kind == "job-completed"
    stream: Any = await bench.client.xrange("bull:work:events")
    assert {fields["event"] for _, fields in stream} <= {"added", "waiting", "active", "completed", "drained"}


async def test_nothing_hangs_on_bullmq_s_listeners(bench: Bench) -> None:
    """Trap 22: a listener that raises corrupts the job's flow there; here no listener is ever called."""

    @bench.handler()
    async def go(ctx: Context) -> None:
        raise ValueError("told by the journal")

    async with bench.worker():
        job_id = await bench.submit()
        *_, last = await bench.ended(job_id)
    assert last.error == "ValueError: told by the journal"  # type: ignore[attr-defined]
