"""Attempts that are ended before their handler is done: by request, by time-out."""

import asyncio
import threading
import time

import pytest

from jobcast import Cancelled, Context, SyncContext
from jobcast.shared.events import JobCancelled, JobFailed
from tests.support.waiting import wait_until
from tests.worker.conftest import Bench


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
