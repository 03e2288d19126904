"""The job that comes with the end of another: in its slot, once, and never lost."""

import asyncio
from typing import Any

from jobcast import Context
from jobcast.worker.consumer import Consumer, Timing
from jobcast.worker.queues import QueueDefinition
from jobcast.worker.taken import TakenJob
from tests.support.waiting import wait_until
from tests.worker.conftest import Bench, bench_at


async def test_a_backlog_costs_three_calls_a_job(bench: Bench) -> None:
    """Its end, which brings the next; its start; that it ended. A take of its own would be a fourth."""

    @bench.handler()
    async def go(_: Context) -> None: ...

    jobs = [await bench.submit() for _ in range(100)]
    before = await _calls(bench)
    async with bench.worker(concurrency=5):
        await wait_until(lambda: _is_over(bench, jobs[-1]))
    assert await _calls(bench) - before < 3.5 * len(jobs)
    for job_id in jobs:
        assert await bench.kinds(job_id) == ["job-queued", "job-queue-to-start", "job-completed"]


async def _calls(bench: Bench) -> int:
    return int((await bench.client.info("commandstats"))["cmdstat_evalsha"]["calls"])


async def _is_over(bench: Bench, job_id: str) -> bool:
    return await bench.state(job_id) == "completed"


async def test_no_more_jobs_run_at_once_than_were_asked_for_and_no_fewer(bench: Bench) -> None:
    running, most, lowest = 0, 0, 9

    @bench.handler()
    async def go(ctx: Context) -> None:
        nonlocal running, most, lowest
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        if 10 < ctx.data < 50:
            lowest = min(lowest, running)
        running -= 1
        if ctx.data % 3 == 0:
            raise ValueError("some fail, and give their slot back")

    jobs = [await bench.submit(n) for n in range(60)]
    async with bench.worker(concurrency=4):
        for job_id in jobs:
            await bench.ended(job_id)
    assert most == 4
    assert lowest >= 1


async def test_a_job_whose_coming_was_not_heard_is_run_at_once_and_once(bench: Bench) -> None:
    """The line broke after Redis had moved the one and locked the other, which then nobody knew of."""
    served: list[str] = []

    async def execute(job: TakenJob) -> None:
        served.append(job.id)
        if len(served) == 1:
            await job.backend.moveToCompleted(job.raw, None, job.keep(completed=True), job.token, True)
        await job.complete(None)

    first, second = await bench.submit(), await bench.submit()
    consumer = Consumer(bench.client, QueueDefinition("work", concurrency=1), execute, timing=Timing(idle=1))
    task = asyncio.create_task(consumer.run())
    await wait_until(lambda: _is_over(bench, second), 3)
    consumer.close()
    await task
    assert served == [first, second]


async def test_lines_that_break_all_the_time_lose_no_job(start_redis: Any) -> None:
    """Each break may fall on an end that brings the next job; without a look for it, that one would stall for 20 s."""
    ran: dict[str, int] = {}
    async with bench_at(start_redis().url) as bench:

        @bench.handler()
        async def go(ctx: Context) -> None:
            ran[ctx.job_id] = ran.get(ctx.job_id, 0) + 1

        jobs = [await bench.submit() for _ in range(400)]
        timing = Timing(lock=20, renew=5, stalled_check=20, idle=1)
        async with bench.worker(concurrency=8, timing=timing):
            for _ in range(25):
                await asyncio.sleep(0.02)
                with_name = [each for each in await bench.commands.client_list() if each["name"].startswith("jobcast-")]
                for each in with_name:
                    await bench.commands.client_kill_filter(_id=each["id"])
            for job_id in jobs:
                await bench.ended(job_id, 15)
    assert set(ran) == set(jobs)
