"""BullMQ's consumer side against real BullMQ: each trap it held, and faults of Redis."""

import asyncio
import time
from typing import Any

import pytest
from bullmq import Queue

from jobcast import Context
from jobcast.shared.errors import BadQueueName
from jobcast.shared.events import JobCompleted, JobFailed, JobStarted
from jobcast.shared.options import Backoff
from jobcast.shared.redis import connect_for_bullmq
from jobcast.worker.app import Service
from jobcast.worker.consumer import Consumer, Timing
from jobcast.worker.queues import Limiter, QueueDefinition
from jobcast.worker.taken import TakenJob
from tests.conftest import StartRedis
from tests.support.waiting import wait_until
from tests.worker.conftest import Bench, bench_at

AS_SHIPPED = Timing()


def starts_of(times: list[float]) -> list[float]:
    return [round(each - times[0], 2) for each in times]


async def test_an_idle_worker_hears_at_once(bench: Bench) -> None:
    """Trap 17: with redis-py's 5 s read time-out an idle worker went deaf for 2 to 10 s."""

    @bench.handler()
    async def go(_: Context) -> None: ...

    async with bench.worker(timing=AS_SHIPPED):
        await asyncio.sleep(5.6)  # past the 5 s time-out and past one blocking wait
        asked = time.monotonic()
        job_id = await bench.submit()
        await bench.ended(job_id)
    assert time.monotonic() - asked < 0.3


async def test_a_delay_is_kept_to_the_tenth_of_a_second(bench: Bench) -> None:
    """Trap 18: without the server's version BullMQ rounds every wait up to whole seconds."""

    @bench.handler()
    async def go(_: Context) -> None: ...

    async with bench.worker(timing=AS_SHIPPED):
        job_id = await bench.submit(delay=1300)
        _, started, _ = await bench.ended(job_id)
    assert isinstance(started, JobStarted)
    assert 1300 <= started.queue_to_start_time < 1500


async def test_a_rate_limit_is_kept_and_used(bench: Bench) -> None:
    """Trap 19: three jobs per 500 ms became three per 5 s."""
    times: list[float] = []

    @bench.handler()
    async def go(_: Context) -> None:
        times.append(time.monotonic())

    bench.registry.declare(QueueDefinition("work", concurrency=4, limiter=Limiter(3, 500)))
    for _ in range(9):
        await bench.submit()
    async with bench.worker(timing=AS_SHIPPED):
        await wait_until(lambda: len(times) == 9, 5)
    assert 0.8 < times[-1] - times[0] < 1.6


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
    assert time.monotonic() - asked < 1
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


@pytest.mark.parametrize("name", ["two words", "größe", "", "a:b", "x" * 65])
def test_a_queue_name_bullmq_dies_of_is_refused(name: str) -> None:
    """Trap 21: run() ended in silence for a queue name with a space or a letter beyond ASCII."""
    with pytest.raises(BadQueueName):
        QueueDefinition(name)


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
        await bench.client.set(f"bull:work:{job_id}:lock", "someone else", px=100)
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


async def test_an_end_whose_answer_was_lost_is_told_all_the_same(bench: Bench) -> None:
    """The connection sends the move again; the second finds the lock gone by our own hand."""
    outcome: list[str] = []

    async def execute(job: TakenJob) -> None:
        await job.complete({"n": 1})
        await job.complete({"n": 1})
        outcome.append(await bench.state(job.id))

    async with _consumer(bench, QueueDefinition("work"), execute):
        await bench.submit()
        await wait_until(lambda: outcome)
    assert outcome == ["completed"]


class _consumer:  # noqa: N801  reads as the context manager it is
    """A bare consumer at work for the length of a block."""

    def __init__(self, bench: Bench, definition: QueueDefinition, execute: Any) -> None:
        self._client = connect_for_bullmq(bench.url, name="test")
        self._consumer = Consumer(self._client, definition, execute, timing=Timing(idle=1))

    async def __aenter__(self) -> Consumer:
        self._task = asyncio.create_task(self._consumer.run())
        return self._consumer

    async def __aexit__(self, *_: object) -> None:
        self._consumer.close()
        await self._task
        await self._client.aclose()


async def test_a_job_from_node_is_kept_only_as_long_as_its_queue_says(bench: Bench) -> None:
    """Trap 27: BullMQ's defaults keep finished jobs for ever. The job says nothing, as one added by Node does."""
    seen: list[tuple[Any, Any, int, int]] = []

    async def execute(job: TakenJob) -> None:
        seen.append((job.keep(completed=True), job.keep(completed=False), job.max_attempts, job.retry_delay(0.0)))
        await job.complete(None)

    definition = QueueDefinition("work", attempts=4, backoff=Backoff("fixed", 70))
    queue = Queue("work", {"connection": bench.client})
    async with _consumer(bench, definition, execute):
        await queue.add("go", {}, {})
        await wait_until(lambda: seen)
    assert seen == [({"age": 86400, "count": 1000}, {"age": 604800, "count": 5000}, 4, 70)]


async def test_a_schedule_goes_on(bench: Bench) -> None:
    """Trap 16: without the consumer's part a job scheduler fires once and never again."""
    times: list[float] = []

    @bench.handler()
    async def go(_: Context) -> None:
        times.append(time.monotonic())

    queue = Queue("work", {"connection": bench.client})
    await queue.upsertJobScheduler("beat", {"every": 250}, "go", {})
    async with bench.worker():
        await wait_until(lambda: len(times) >= 4, 5)
    assert times[3] - times[0] < 1.5


async def test_a_paused_queue_rests_and_wakes(bench: Bench) -> None:
    @bench.handler()
    async def go(_: Context) -> None: ...

    queue = Queue("work", {"connection": bench.client})
    async with bench.worker(timing=AS_SHIPPED):
        await queue.pause()
        job_id = await bench.submit()
        await asyncio.sleep(0.3)
        assert await bench.kinds(job_id) == ["job-queued"]
        await queue.resume()
        await bench.ended(job_id, 1)


async def test_priorities_come_first(bench: Bench) -> None:
    order: list[int] = []

    @bench.handler()
    async def go(ctx: Context) -> None:
        order.append(ctx.data)

    for number in (3, 1, 2):
        await bench.submit(number, priority=number)
    async with bench.worker(concurrency=1):
        await wait_until(lambda: len(order) == 3)
    assert order == [1, 2, 3]


async def test_a_record_bullmq_cannot_read_fails_instead_of_coming_back_for_ever(bench: Bench) -> None:
    @bench.handler()
    async def go(_: Context) -> None: ...

    job_id = await bench.submit()
    await bench.client.hset(f"bull:work:{job_id}", "data", "{not json")
    async with bench.worker():
        *_, last = await bench.ended(job_id)
    assert isinstance(last, JobFailed)
    assert last.error.startswith("the job's record cannot be read: ")


async def test_a_job_whose_id_no_door_takes_fails_without_reaching_the_journal(bench: Bench) -> None:
    @bench.handler()
    async def go(_: Context) -> None: ...

    queue = Queue("work", {"connection": bench.client})
    await queue.add("go", {}, {"jobId": "{*}\r\n", "removeOnFail": False})
    async with bench.worker():
        await wait_until(lambda: _in_failed(bench, "{*}\r\n"))
    assert (await bench.bullmq("{*}\r\n"))["failedReason"].startswith("BadJobId: ")
    assert not [key async for key in bench.commands.scan_iter("jobcast:*")]


async def _in_failed(bench: Bench, job_id: str) -> bool:
    return await bench.state(job_id) == "failed"


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
    assert time.monotonic() - asked < 2
