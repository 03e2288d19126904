"""BullMQ's consumer side against real BullMQ: each trap it held, and faults of Redis."""

import asyncio
import time
from typing import Any

import pytest
from bullmq import Queue

from jobcast import Context
from jobcast.shared.clock import now_ms
from jobcast.shared.definitions import Limiter
from jobcast.shared.errors import BadQueueName
from jobcast.shared.events import JobCompleted, JobFailed, JobStarted
from jobcast.shared.options import Backoff
from jobcast.shared.redis import connect_for_bullmq
from jobcast.worker.consumer import Consumer, Timing
from jobcast.worker.errors import LockLost
from jobcast.worker.queues import QueueDefinition
from jobcast.worker.stalled import CALM_FOR
from jobcast.worker.taken import TakenJob
from tests.support.waiting import wait_until
from tests.worker.conftest import Bench

AS_SHIPPED = Timing()


async def test_an_idle_worker_hears_at_once(bench: Bench) -> None:
    """Trap 17: with redis-py's 5 s read time-out an idle worker went deaf for 2 to 10 s."""

    @bench.handler()
    async def go(_: Context) -> None: ...

    async with bench.worker(timing=AS_SHIPPED):
        await asyncio.sleep(0.3)
        connections = await _connections(bench)
        await asyncio.sleep(5.3)  # past the 5 s time-out and past one blocking wait
        assert connections <= await _connections(bench), "a blocking wait was cut off and begun again"
        asked = time.monotonic()
        job_id = await bench.submit()
        await bench.ended(job_id)
    assert time.monotonic() - asked < 4


async def _connections(bench: Bench) -> set[str]:
    return {each["id"] for each in await bench.client.client_list() if each["name"] == "jobcast-worker"}


async def test_a_delay_is_kept_to_the_tenth_of_a_second(bench: Bench) -> None:
    """Trap 18: without the server's version BullMQ rounds every wait up to whole seconds."""

    @bench.handler()
    async def go(_: Context) -> None: ...

    async with bench.worker(timing=AS_SHIPPED):
        job_id = await bench.submit(delay=1300)
        queued, started, _ = await bench.ended(job_id)
    assert isinstance(started, JobStarted)
    assert 1300 <= started.timestamp - queued.timestamp < 1700
    assert started.queue_to_start_time < 400


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
        await wait_until(lambda: len(times) == 9, 12)
    assert 0.8 < times[-1] - times[0] < 4.5


@pytest.mark.parametrize("name", ["two words", "größe", "", "a:b", "x" * 65])
def test_a_queue_name_bullmq_dies_of_is_refused(name: str) -> None:
    """Trap 21: run() ended in silence for a queue name with a space or a letter beyond ASCII."""
    with pytest.raises(BadQueueName):
        QueueDefinition(name)


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


async def test_an_end_is_recorded_although_the_lock_ran_out_while_nobody_could_renew_it(bench: Bench) -> None:
    """A Redis that hung, a machine that was suspended; but not once another has begun the job."""
    outcome: list[str] = []

    async def execute(job: TakenJob) -> None:
        await bench.client.delete(f"bull:work:{job.id}:lock")
        if job.data == "taken":
            await bench.client.hincrby(f"bull:work:{job.id}", "ats", 1)
        try:
            await job.hold()
            await bench.client.delete(f"bull:work:{job.id}:lock")
            await job.complete(None)
            outcome.append(await bench.state(job.id))
        except LockLost:
            outcome.append("lost")

    async with _consumer(bench, QueueDefinition("work"), execute):
        await bench.submit()
        await wait_until(lambda: outcome)
        await bench.submit("taken")
        await wait_until(lambda: len(outcome) == 2)
    assert outcome == ["completed", "lost"]


async def test_a_lock_that_the_heartbeat_took_again_first_is_ours(bench: Bench) -> None:
    """Both find it gone after a standstill, and whoever came second took the job for lost."""
    outcome: list[object] = []

    async def execute(job: TakenJob) -> None:
        await bench.client.delete(f"bull:work:{job.id}:lock")
        outcome.extend([await job._take_again(), await job._take_again()])
        await bench.client.set(f"bull:work:{job.id}:lock", "another's")
        outcome.append(await job._take_again())

    async with _consumer(bench, QueueDefinition("work"), execute):
        await bench.submit()
        await wait_until(lambda: len(outcome) == 3)
    assert outcome == [True, True, False]


@pytest.mark.parametrize(
    "ago", [None, CALM_FOR + 2000], ids=["nothing is calm", "a check that waited out a hung Redis"]
)
async def test_a_lock_that_is_gone_tells_of_no_death_after_a_standstill(bench: Bench, ago: int | None) -> None:
    """All locks are gone then, and those who live need a moment to take theirs again."""
    calm: list[bool] = []
    began, go_on = asyncio.Event(), asyncio.Event()

    async def execute(job: TakenJob) -> None:
        began.set()
        await go_on.wait()

    def calm_at() -> int | None:
        return now_ms() if calm else None if ago is None else now_ms() - ago

    async with _consumer(bench, QueueDefinition("work", concurrency=1), execute, stalled_check=0.1) as consumer:
        consumer.calm_at = calm_at
        job_id = await bench.submit()
        await asyncio.wait_for(began.wait(), 5)
        await bench.client.delete(f"bull:work:{job_id}:lock")
        await bench.client.sadd("bull:work:stalled", job_id)
        await asyncio.sleep(0.5)
        assert await bench.state(job_id) == "active"
        calm.append(True)
        await wait_until(lambda: _is_waiting(bench, job_id))
        go_on.set()


async def _is_waiting(bench: Bench, job_id: str) -> bool:
    return await bench.state(job_id) == "wait"


class _consumer:  # noqa: N801  reads as the context manager it is
    """A bare consumer at work for the length of a block."""

    def __init__(self, bench: Bench, definition: QueueDefinition, execute: Any, stalled_check: float = 4.0) -> None:
        self._client = connect_for_bullmq(bench.url, name="test")
        self._consumer = Consumer(self._client, definition, execute, timing=Timing(idle=1, stalled_check=stalled_check))

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
    assert times[3] - times[0] < 2.5


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


@pytest.mark.parametrize("data", ["{not json", "[" * 100_000], ids=["no JSON", "too deep"])
async def test_a_record_bullmq_cannot_read_fails_instead_of_coming_back_for_ever(bench: Bench, data: str) -> None:
    """Taken by itself, or brought by the end of the one before it, whose end is told and whose slot comes free."""

    @bench.handler()
    async def go(_: Context) -> None: ...

    jobs = [await bench.submit() for _ in range(5)]
    for job_id in jobs[0], jobs[2]:
        await bench.client.hset(f"bull:work:{job_id}", "data", data)
    async with bench.worker(concurrency=1):
        ends = [(await bench.ended(job_id))[-1] for job_id in jobs]
    assert [type(end) for end in ends] == [JobFailed, JobCompleted, JobFailed, JobCompleted, JobCompleted]
    assert isinstance(ends[2], JobFailed)
    assert ends[2].error.startswith("the job's record cannot be read: ")


async def test_a_job_whose_id_no_door_takes_fails_without_reaching_the_journal(bench: Bench) -> None:
    @bench.handler()
    async def go(_: Context) -> None: ...

    queue = Queue("work", {"connection": bench.client})
    await queue.add("go", {}, {"jobId": "{*}\r\n", "removeOnFail": False})
    async with bench.worker():
        await wait_until(lambda: _in_failed(bench, "{*}\r\n"))
    assert (await bench.bullmq("{*}\r\n"))["failedReason"].startswith("BadJobId: ")
    kept = {key async for key in bench.commands.scan_iter("jobcast:*")}
    assert kept <= {b"jobcast:queue:{work}:definition"}


async def _in_failed(bench: Bench, job_id: str) -> bool:
    return await bench.state(job_id) == "failed"


async def test_an_idle_worker_stops_at_once_whatever_it_is_doing(bench: Bench) -> None:
    """Stopped while it sent its blocking wait it sat that out: redis-py forgot the cancel."""

    async def nothing(_: TakenJob) -> None: ...

    for steps in [*range(12)] * 4:
        consumer = Consumer(bench.client, QueueDefinition("work"), nothing, timing=Timing(idle=9.0))
        running = asyncio.create_task(consumer.run())
        while not consumer._taker._drained:  # noqa: ASYNC110  no job: in the next steps it asks to be woken
            await asyncio.sleep(0)
        for _ in range(steps):
            await asyncio.sleep(0)
        consumer.close()
        done, _ = await asyncio.wait([running], timeout=5)
        assert done, f"stopped {steps} steps later it went on"
        await running
