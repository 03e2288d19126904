"""Workers that die, are stopped, or only seem dead: what is told of their jobs. Real processes and real signals."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import pytest

from jobcast import Context, SyncContext
from jobcast.shared.events import JobCompleted, JobFailed, JobLog, JobStalled
from jobcast.shared.heartbeats import Heartbeats
from jobcast.shared.keys import Keys
from jobcast.shared.vigil import Timing as Watching
from jobcast.shared.vigil import Vigil
from jobcast.worker.consumer import Timing
from jobcast.worker.queues import QueueDefinition
from tests.conftest import StartRedis
from tests.support.waiting import wait_until
from tests.worker.conftest import QUICK, Bench, bench_at
from tests.worker.mortal import MortalWorker

WATCH = Watching(look=0.2, silent=8, calm=4, gap=2.0)
"""A worker that beats every 0.4 s is dead after 1.6 s."""
PATIENT = Timing(lock=3.5, renew=0.4, stalled_check=0.5, idle=1.0)
"""The lock outlasts the verdict of the watch, as it does with the times that are shipped."""
NEVER_RENEWED = Timing(lock=2.0, renew=60.0, stalled_check=0.5, idle=1.0)
"""Once it is stopped and goes on, its handler speaks before its thread learns that the lock is gone."""


@pytest.fixture
async def workers(bench: Bench) -> AsyncIterator[Callable[..., MortalWorker]]:
    """Worker processes, ended with the test."""
    with ExitStack() as stack:

        def start(**how: Any) -> MortalWorker:
            return stack.enter_context(MortalWorker(bench.url, **how))

        yield start


@asynccontextmanager
async def watched(bench: Bench) -> AsyncIterator[Vigil]:
    """Somebody who watches, as a gateway does, with no worker beside."""
    vigil = Vigil(Heartbeats(bench.commands, Keys()), bench.journal, WATCH)
    task = asyncio.create_task(vigil.run())
    try:
        yield vigil
    finally:
        vigil.stop()
        await asyncio.wait([task])


async def beating(bench: Bench) -> dict[str, str]:
    return (await Heartbeats(bench.commands, Keys()).look()).beats


async def is_beating(bench: Bench, count: int) -> bool:
    return len(await beating(bench)) == count


async def test_a_killed_worker_s_jobs_are_told_as_stalled_although_no_worker_is_left(
    bench: Bench, workers: Callable[..., MortalWorker]
) -> None:
    worker = workers(concurrency=3)
    jobs = [await bench.submit() for _ in range(4)]
    async with watched(bench) as first, watched(bench) as second:
        for job_id in jobs[:3]:
            await bench.seen(job_id, "job-queue-to-start")
        before = time.time() * 1000
        worker.kill()
        stalled = [await bench.seen(job_id, "job-stalled") for job_id in jobs[:3]]
        await wait_until(lambda: is_beating(bench, 0))  # told, it is forgotten
    for event in stalled:
        assert isinstance(event, JobStalled)
        assert before - 1000 < event.last_seen < before + 1000
        assert event.reason.startswith("nothing is heard of its worker ")
    assert [(await bench.kinds(job_id)).count("job-stalled") for job_id in jobs] == [1, 1, 1, 0]
    assert (first.told + second.told, await bench.commands.get("jobcast:stalled")) == (3, b"3")


async def test_a_killed_worker_s_job_is_run_again_by_another(
    bench: Bench, workers: Callable[..., MortalWorker]
) -> None:
    first = workers(timing=PATIENT)
    job_id = await bench.submit()
    await bench.seen(job_id, "job-queue-to-start")
    workers(timing=PATIENT)
    await wait_until(lambda: is_beating(bench, 2))
    first.kill()
    await bench.commands.set("end", "1")
    events = await bench.ended(job_id, 12)
    kinds = [(event.kind, event.attempt) for event in events if event.kind != "job-progress"]
    assert kinds == [
        ("job-queued", 1), ("job-queue-to-start", 1), ("job-stalled", 1),
        ("job-queue-to-start", 2), ("job-completed", 2),
    ]  # fmt: skip


async def test_a_job_that_kills_its_workers_fails_with_bullmq_s_reason(bench: Bench) -> None:
    """As often as its queue allows, and no more."""
    began = asyncio.Event()

    @bench.handler()
    async def go(_: Context) -> None:
        began.set()
        await asyncio.sleep(60)

    bench.registry.declare(QueueDefinition("work", max_stalled_count=0))
    job_id = await bench.submit()
    async with bench.worker(watching=WATCH, drain=0.0):
        await asyncio.wait_for(began.wait(), 5)
        # A worker that died has its lock run out, and takes no part in renewing it.
        await bench.client.set(f"bull:work:{job_id}:lock", "the dead one's", px=1000)
        *_, last = await bench.ended(job_id)
    assert isinstance(last, JobFailed)
    assert (last.final, last.error) == (True, "job stalled more than allowable limit")


async def test_a_stopped_worker_that_comes_back_after_another_took_its_job_is_refused(
    bench: Bench, workers: Callable[..., MortalWorker]
) -> None:
    late = workers(timing=NEVER_RENEWED)
    job_id = await bench.submit()
    await bench.seen(job_id, "job-progress")
    late.pause()
    workers(timing=QUICK)

    async def second_attempt() -> bool:
        return any(event.attempt == 2 and event.kind == "job-progress" for event in await bench.events(job_id))

    await wait_until(second_attempt, 12)
    late.resume()
    await late.says("stale-attempt")
    await bench.commands.set("end", "1")
    await late.says("a job was lost")  # it finished, and its lock is another's
    events = await bench.ended(job_id)
    attempts = [event.attempt for event in events]
    assert attempts == sorted(attempts)
    assert [event.kind for event in events].count("job-completed") == 1
    assert isinstance(events[-1], JobCompleted)
    assert events[-1].result == 2


async def test_a_worker_told_dead_that_still_has_its_jobs_says_so(
    bench: Bench, workers: Callable[..., MortalWorker]
) -> None:
    worker = workers(timing=Timing(lock=30.0, renew=0.4, stalled_check=0.5, idle=1.0), silent=True)
    job_id = await bench.submit()
    async with watched(bench):
        await bench.seen(job_id, "job-queue-to-start")
        worker.pause()
        await bench.seen(job_id, "job-stalled")
        worker.resume()
        line = await bench.seen(job_id, "job-log")
    assert isinstance(line, JobLog)
    assert line.line == "the worker is heard of again; the job goes on"
    assert (await bench.journal.read(job_id)).fields["state"] == b"active"
    await bench.commands.set("end", "1")
    assert [event.attempt for event in await bench.ended(job_id)] == [1, 1, 1, 1, 1]


async def test_a_handler_that_blocks_the_loop_or_a_thread_is_not_taken_for_a_death(
    bench: Bench, workers: Callable[..., MortalWorker]
) -> None:
    """Blocked for longer than the lock lives, and than the watch waits."""
    workers(timing=QUICK)
    jobs = [await bench.submit(name=name) for name in ("block-thread", "block-loop")]
    async with watched(bench):
        told = [await bench.ended(job_id, 12) for job_id in jobs]
        assert len(await beating(bench)) == 1
    for events in told:
        assert [event.kind for event in events] == ["job-queued", "job-queue-to-start", "job-completed"]


async def test_a_redis_that_hung_costs_no_job_its_worker(start_redis: StartRedis) -> None:
    """Every lock ran out meanwhile, and nobody had been heard of."""
    redis = start_redis()
    async with bench_at(redis.url) as bench:
        with MortalWorker(bench.url, timing=QUICK), MortalWorker(bench.url, timing=QUICK):
            jobs = [await bench.submit() for _ in range(8)]
            async with watched(bench):
                for job_id in jobs:
                    await bench.seen(job_id, "job-queue-to-start")
                redis.pause()
                await asyncio.sleep(2.5)
                redis.resume()
                await asyncio.sleep(2.5)
                await bench.commands.set("end", "1")
                told = [await bench.ended(job_id) for job_id in jobs]
    assert {event.kind for events in told for event in events} == {
        "job-queued", "job-queue-to-start", "job-progress", "job-completed",
    }  # fmt: skip
    assert {event.attempt for events in told for event in events} == {1}


async def test_a_worker_that_stops_in_an_orderly_way_takes_its_heartbeat_away(bench: Bench) -> None:
    @bench.handler()
    async def go(ctx: SyncContext) -> None: ...

    async with bench.worker():
        await bench.ended(await bench.submit())
        assert len(await beating(bench)) == 1
    assert await beating(bench) == {}
