"""Attempts that are ended before their handler is done: by request, by time-out."""

import asyncio
import contextlib
import threading
import time

import pytest

from jobcast import Cancelled, Context, SyncContext
from jobcast.shared.events import JobCancelled, JobFailed
from jobcast.worker import run
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


@pytest.mark.parametrize("asynchronous", [True, False])
async def test_an_overstaying_handler_ends_before_its_job_is_tried_again(bench: Bench, asynchronous: bool) -> None:
    """Two attempts of one job must not run side by side; the lock is kept meanwhile."""
    at_work, most = 0, 0

    def enter(change: int) -> None:
        nonlocal at_work, most
        at_work += change
        most = max(most, at_work)

    if asynchronous:

        @bench.handler(timeout=2.5)
        async def deaf(ctx: Context) -> int:
            enter(1)
            until = time.monotonic() + (5.5 if ctx.attempt == 1 else 0)
            while time.monotonic() < until:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(until - time.monotonic())
            enter(-1)
            return ctx.attempt
    else:

        @bench.handler(timeout=2.5)
        def stuck(ctx: SyncContext) -> int:
            enter(1)
            time.sleep(5.5 if ctx.attempt == 1 else 0)
            enter(-1)
            return ctx.attempt

    job_id = await bench.submit(attempts=2)
    async with bench.worker(), bench.worker():
        events = await bench.ended(job_id, 15)
    assert [(event.kind, event.attempt) for event in events] == [
        ("job-queued", 1), ("job-queue-to-start", 1), ("job-failed", 1),
        ("job-queue-to-start", 2), ("job-completed", 2),
    ]  # fmt: skip
    assert events[2].error == "TimeoutError: the handler ran longer than 2.5 s"  # type: ignore[attr-defined]
    assert most == 1


async def test_a_handler_that_never_stops_is_not_tried_again(bench: Bench) -> None:
    release = threading.Event()

    @bench.handler(timeout=0.2)
    def stuck(_: SyncContext) -> None:
        release.wait(10)

    job_id = await bench.submit(attempts=5)
    async with bench.worker():
        *_, last = await bench.ended(job_id)
        release.set()
    assert isinstance(last, JobFailed)
    assert last.attempt == 1
    assert last.error.startswith(
        "TimeoutError: the handler ran longer than 0.2 s and had not stopped 2.2 s later; it is not run a second time"
    )


async def test_a_worker_that_stops_waits_for_no_overtime(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its threads end with it: the job may go back at once."""
    monkeypatch.setattr(run, "STOP_WAIT", 0.1)
    release = threading.Event()

    @bench.handler(timeout=1.5)
    def stuck(_: SyncContext) -> None:
        release.wait(20)

    job_id = await bench.submit(attempts=5)
    async with bench.worker(drain=0.1):
        await bench.seen(job_id, "job-queue-to-start")
        await asyncio.sleep(1.8)
        assert "job-failed" not in await bench.kinds(job_id)
    release.set()
    last = (await bench.events(job_id))[-1]
    assert isinstance(last, JobFailed)
    assert (last.final, last.error) == (False, "TimeoutError: the handler ran longer than 1.5 s")


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
    assert time.monotonic() - asked < 8
