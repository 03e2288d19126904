"""Stopping, losing locks, losing Redis: what the consumer makes of them."""

import asyncio
import time
from typing import Any

from jobcast import Context
from jobcast.shared.events import JobCompleted, JobFailed
from jobcast.worker.consumer import Timing
from jobcast.worker.service import Service
from tests.conftest import StartRedis
from tests.support.waiting import wait_until
from tests.worker.conftest import Bench, bench_at

AS_SHIPPED = Timing()


async def test_a_drain_finishes_what_is_in_hand_and_takes_no_more(bench: Bench) -> None:
    """Trap 20: close() left active jobs behind in 17 of 25 runs."""

    @bench.handler()
    async def go(_: Context) -> None:
        await asyncio.sleep(0.3)

    jobs = [await bench.submit() for _ in range(12)]
    async with bench.worker(concurrency=4):
        await wait_until(lambda: _states(bench, jobs, "active", 4))
    states = [await bench.state(job_id) for job_id in jobs]
    assert sorted(set(states)) == ["completed", "wait"]
    assert states.count("completed") == 4


async def _states(bench: Bench, jobs: list[str], state: str, count: int) -> bool:
    return [await bench.state(job_id) for job_id in jobs].count(state) == count


async def test_what_outlasts_the_drain_goes_back_without_losing_an_attempt(bench: Bench) -> None:
    """Trap 20: worker.pause() strands jobs; ours go back into the queue, and the next worker has them at once."""

    @bench.handler()
    async def go(ctx: Context) -> int:
        if ctx.attempt == 1:
            await asyncio.sleep(60)
        return ctx.attempt

    job_id = await bench.submit()
    async with bench.worker(drain=0.2):
        await bench.seen(job_id, "job-queue-to-start")
    stopped = (await bench.events(job_id))[-1]
    assert isinstance(stopped, JobFailed)
    assert (stopped.final, stopped.attempts, stopped.retry_at) == (False, 0, None)
    assert stopped.error.startswith("WorkerStopped: ")
    asked = time.monotonic()
    async with bench.worker():
        *_, completed = await bench.ended(job_id)
    assert isinstance(completed, JobCompleted)
    assert completed.result == 2
    assert time.monotonic() - asked < 2
    assert (await bench.bullmq(job_id))["atm"] == "1"


async def test_a_worker_that_starts_before_redis_waits_for_it(start_redis: StartRedis) -> None:
    """Trap 21: run() ended in silence when Redis was away at the start."""
    redis = start_redis()
    redis.kill()
    async with bench_at(redis.url) as bench:

        @bench.handler()
        async def go(_: Context) -> None: ...

        service_started = asyncio.create_task(_start_later(redis))
        async with bench.worker():
            await bench.ended(await bench.submit())
        await service_started


async def _start_later(redis: Any) -> None:
    await asyncio.sleep(1)
    await asyncio.to_thread(redis.start)


async def test_redis_killed_midway_costs_nothing(start_redis: StartRedis) -> None:
    """Trap 21: the loops, the progress and the end survive a Redis that goes and comes back with its data."""
    redis = start_redis(appendonly=True, config={"appendfsync": "always"})
    async with bench_at(redis.url) as bench:
        go_on = asyncio.Event()

        @bench.handler()
        async def go(ctx: Context) -> str:
            await ctx.progress(10)
            await go_on.wait()
            await ctx.progress(90)
            await ctx.log("after the storm")
            return "done"

        job_id, following = await bench.submit(), await bench.submit()
        async with bench.worker(timing=Timing(lock=20, renew=0.3, stalled_check=20, idle=1), concurrency=1):
            await bench.seen(job_id, "job-progress")
            redis.kill()
            await asyncio.sleep(0.5)
            go_on.set()
            await asyncio.sleep(0.5)
            await asyncio.to_thread(redis.start)
            events = await bench.ended(job_id, 20)
            await bench.ended(following, 20)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert [event.kind for event in events][-2:] == ["job-log", "job-completed"]
    assert events[-3].progress == 90  # type: ignore[attr-defined]


async def test_a_job_whose_lock_is_taken_is_cancelled_and_tells_nothing_more(bench: Bench) -> None:
    """Trap 25: once another worker may have the job, ours must stop and keep silent."""
    cancelled = asyncio.Event()

    @bench.handler()
    async def go(ctx: Context) -> None:
        if ctx.attempt > 1:
            return
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    job_id = await bench.submit()
    async with bench.worker():
        await bench.seen(job_id, "job-queue-to-start")
        await bench.client.set(f"bull:work:{job_id}:lock", "someone else", px=1000)
        await asyncio.wait_for(cancelled.wait(), 3)
        events = await bench.ended(job_id)
    assert [(event.kind, event.attempt) for event in events] == [
        ("job-queued", 1), ("job-queue-to-start", 1), ("job-queue-to-start", 2), ("job-completed", 2),
    ]  # fmt: skip


async def test_a_job_keeps_its_lock_for_as_long_as_it_runs(bench: Bench) -> None:
    """Trap 25: a job longer than its lock is not taken for stalled, whatever checks there are."""

    @bench.handler()
    async def go(_: Context) -> None:
        await asyncio.sleep(2.2)

    job_id = await bench.submit()
    quick = Timing(lock=1.0, renew=0.3, stalled_check=0.2, idle=1)
    async with bench.worker(timing=quick), bench.worker(timing=quick):
        events = await bench.ended(job_id)
    assert [event.kind for event in events] == ["job-queued", "job-queue-to-start", "job-completed"]


async def test_a_stopping_worker_leaves_the_wake_up_for_the_next(bench: Bench) -> None:
    """Trap 20: the marker an idle worker had asked for must not go with it; the next would sleep its wait out."""

    @bench.handler()
    async def go(_: Context) -> None: ...

    async with bench.worker(timing=AS_SHIPPED):
        await bench.ended(await bench.submit())
        await wait_until(lambda: _nobody_marked(bench))
    assert await bench.client.zcard("bull:work:marker") == 1


async def _nobody_marked(bench: Bench) -> bool:
    return await bench.client.zcard("bull:work:marker") == 0


async def test_a_second_stop_ends_the_drain_at_once(bench: Bench) -> None:
    @bench.handler()
    async def go(_: Context) -> None:
        await asyncio.sleep(60)

    job_id = await bench.submit()
    async with bench.worker(drain=60.0) as service:
        assert isinstance(service, Service)
        await bench.seen(job_id, "job-queue-to-start")
        service.stop()
        asked = time.monotonic()
    assert time.monotonic() - asked < 20
