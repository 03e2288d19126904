"""A handler that was told to stop has not completed, however it takes the news."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import pytest

from jobcast import Cancelled, Context, Reporter, SyncContext, SyncReporter
from jobcast.shared.events import JobCancelled, JobCompleted, JobFailed
from jobcast.worker.errors import cancelled_in
from tests.worker.conftest import Bench


async def forgiving(ctx: Context) -> str:
    for _ in range(200):
        with contextlib.suppress(Exception):
            await asyncio.sleep(0.01)
            await ctx.check_cancelled()
    return "every row"


def forgiving_thread(ctx: SyncContext) -> str:
    for _ in range(200):
        with contextlib.suppress(Exception):
            time.sleep(0.01)
            ctx.check_cancelled()
    return "every row"


async def giving_up(ctx: Context) -> str:
    try:
        while True:
            await asyncio.sleep(0.01)
            await ctx.check_cancelled()
    except Cancelled:
        return "a part"


def giving_up_thread(ctx: SyncContext) -> str:
    try:
        while True:
            time.sleep(0.01)
            ctx.progress(1)
    except Cancelled:
        return "a part"


async def in_a_group(ctx: Context) -> str:
    with contextlib.suppress(Exception):
        async with asyncio.TaskGroup() as group:
            group.create_task(forgiving(ctx))
            group.create_task(asyncio.sleep(60))
    return "every row"


HANDLERS = [forgiving, forgiving_thread, giving_up, giving_up_thread, in_a_group]


@pytest.mark.parametrize("function", HANDLERS)
async def test_a_cancel_ends_a_handler_that_forgives_every_exception(
    bench: Bench, function: Callable[[Any], Any]
) -> None:
    bench.handler()(function)
    job_id = await bench.submit(attempts=3)
    async with bench.worker():
        await bench.seen(job_id, "job-queue-to-start")
        await bench.queues.cancel(job_id, "enough")
        *_, last = await bench.ended(job_id)
    assert isinstance(last, JobCancelled)
    assert last.reason == "enough"
    assert await bench.state(job_id) == "failed"


@pytest.mark.parametrize("function", HANDLERS)
async def test_a_drain_puts_back_what_was_told_to_stop(bench: Bench, function: Callable[[Any], Any]) -> None:
    bench.handler()(function)
    job_id = await bench.submit()
    async with bench.worker(drain=0.1):
        await bench.seen(job_id, "job-queue-to-start")
    last = (await bench.events(job_id))[-1]
    assert isinstance(last, JobFailed)
    assert (last.final, last.error.partition(":")[0]) == (False, "WorkerStopped")
    assert await bench.state(job_id) == "delayed"


async def test_a_handler_that_was_not_told_and_returns_has_completed(bench: Bench) -> None:
    @bench.handler()
    async def go(_: Context) -> str:
        await asyncio.sleep(0.4)
        return "done"

    job_id = await bench.submit()
    async with bench.worker():
        await bench.seen(job_id, "job-queue-to-start")
        await bench.queues.cancel(job_id, "too late")
        *_, last = await bench.ended(job_id)
    assert isinstance(last, JobCompleted)


async def test_a_handler_may_cancel_its_own_job_out_of_a_group(bench: Bench) -> None:
    async def give_up() -> None:
        raise Cancelled("nothing to do")

    @bench.handler()
    async def go(_: Context) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(give_up())
            group.create_task(asyncio.sleep(60))

    job_id = await bench.submit()
    async with bench.worker():
        *_, last = await bench.ended(job_id)
    assert isinstance(last, JobCancelled)
    assert last.reason == "nothing to do"


def test_a_group_is_a_cancel_only_when_nothing_else_went_wrong() -> None:
    stop = Cancelled("enough")
    assert cancelled_in(BaseExceptionGroup("", [BaseExceptionGroup("", [stop]), asyncio.CancelledError()])) is stop
    assert cancelled_in(BaseExceptionGroup("", [stop, ValueError("also")])) is None
    assert cancelled_in(BaseExceptionGroup("", [asyncio.CancelledError()])) is None
    assert cancelled_in(None) is None
    assert not isinstance(stop, Exception)


@pytest.mark.parametrize("caught", [True, False])
@pytest.mark.parametrize("blocking", [True, False])
async def test_a_report_that_was_told_to_stop_is_cancelled(bench: Bench, caught: bool, blocking: bool) -> None:
    forgiven: type[BaseException] = Cancelled if caught else ValueError

    def plainly() -> None:
        with SyncReporter.connect(bench.url, queue="reports", name="monthly", job_id="r1") as report:
            forgive(report)

    def forgive(report: SyncReporter) -> None:
        with contextlib.suppress(forgiven):
            while True:
                with contextlib.suppress(Exception):
                    report.check_cancelled()
                    time.sleep(0.02)

    async def asynchronously() -> None:
        async with Reporter.connect(bench.url, queue="reports", name="monthly", job_id="r1") as report:
            with contextlib.suppress(forgiven):
                while True:
                    with contextlib.suppress(Exception):
                        await report.check_cancelled()
                        await asyncio.sleep(0.02)

    task = asyncio.create_task(asyncio.to_thread(plainly) if blocking else asynchronously())
    await bench.seen("r1", "job-queue-to-start")
    await bench.queues.cancel("r1", "enough")
    with contextlib.nullcontext() if caught else pytest.raises(Cancelled, match="enough"):
        await asyncio.wait_for(task, 5)
    last = (await bench.events("r1"))[-1]
    assert isinstance(last, JobCancelled)
    assert last.reason == "enough"
