"""Jobs added from Python: by a program, and by a handler that has more to be done."""

import asyncio
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobcast import Context, JobExists, Producer, Repeat, Submitted, SyncContext, SyncProducer
from jobcast.shared.errors import BadRequest, Unavailable
from jobcast.shared.events import JobQueued
from jobcast.shared.schedules import Schedules
from jobcast.worker.errors import Cancelled
from tests.conftest import StartRedis
from tests.support.processes import ChildProcess, clean_environment
from tests.support.waiting import wait_until
from tests.worker.conftest import Bench


async def test_a_job_is_told_as_queued_before_any_worker_lives(bench: Bench) -> None:
    async with Producer.connect(bench.url) as jobs:
        added = await jobs.submit("work", "go", {"n": 1}, {"jobId": "p-1", "attempts": 5, "priority": "high"})
    assert added == Submitted("p-1", fresh=True)
    (queued,) = await bench.events("p-1")
    assert isinstance(queued, JobQueued)
    assert (queued.name, queued.max_attempts, queued.priority) == ("go", 5, 4)


async def test_the_same_id_twice_is_once(bench: Bench) -> None:
    async with Producer.connect(bench.url) as jobs:
        first, second = [await jobs.submit("work", "go", opts={"jobId": "p-1"}) for _ in range(2)]
    assert (first.fresh, second.fresh) == (True, False)
    assert await bench.kinds("p-1") == ["job-queued"]


async def test_options_are_checked_in_their_own_words(bench: Bench) -> None:
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    async with Producer.connect(bench.url) as jobs:
        late = await jobs.submit("work", "go", opts={"delayUntil": tomorrow})
        with pytest.raises(BadRequest, match="job_id"):
            await jobs.submit("work", "go", opts={"job_id": "p-1"})
    assert await bench.state(late.job_id) == "delayed"


async def test_many_are_added_all_or_none(bench: Bench) -> None:
    async with Producer.connect(bench.url) as jobs:
        added = await jobs.submit_many("work", [{"name": "go", "opts": {"jobId": f"p-{n}"}} for n in range(3)])
        with pytest.raises(BadRequest, match=r"jobs\[1\]"):
            await jobs.submit_many("work", [{"name": "go", "opts": {"jobId": "p-9"}}, {"name": ""}])
    assert [job.job_id for job in added] == ["p-0", "p-1", "p-2"]
    assert await bench.events("p-9") == []


async def test_a_plain_program_adds_jobs_and_flows(bench: Bench) -> None:
    def program() -> tuple[str, str]:
        with SyncProducer.connect(bench.url) as jobs:
            job = jobs.submit("work", "go", {"n": 1})
            jobs.submit_many("work", [{"name": "go"}])
            flow = jobs.submit_flow({"queue": "work", "name": "sum", "children": [{"queue": "work", "name": "go"}]})
            assert jobs.schedule("later", "beat", "go", repeat=Repeat(every=3_600_000))
            assert jobs.unschedule("later", "beat")
            return job.job_id, flow.children[0].job_id

    job_id, child_id = await asyncio.to_thread(program)
    assert await bench.kinds(job_id) == await bench.kinds(child_id) == ["job-queued"]


async def test_a_schedule_is_made_once_changed_and_ended(bench: Bench) -> None:
    async with Producer.connect(bench.url) as jobs:
        hourly = Repeat(every=3_600_000)
        made = [await jobs.schedule("work", "beat", "go", repeat=hourly, data={"n": 1}) for _ in range(2)]
        assert made == [True, False]
        assert await jobs.schedule("work", "beat", "go", repeat=hourly, data={"n": 2}, opts={"priority": "low"})
        with pytest.raises(BadRequest, match="priority"):
            await jobs.schedule("work", "other", "go", repeat=hourly, opts={"priority": "soon"})
        listed = await Schedules(bench.queues).listed("work")
        assert [(each.id, each.data) for each in listed] == [("beat", {"n": 2})]
        assert [await jobs.unschedule("work", "beat") for _ in range(2)] == [True, False]
    assert await bench.client.zcard("bull:work:delayed") == 0


async def test_after_its_block_a_producer_says_that_it_has_ended(bench: Bench) -> None:
    async with Producer.connect(bench.url) as jobs:
        pass
    for call in (
        jobs.submit("work", "go"),
        jobs.submit_many("work", [{"name": "go"}]),
        jobs.submit_flow({"queue": "work", "name": "go"}),
        jobs.schedule("work", "beat", "go", repeat=Repeat(every=60_000)),
        jobs.unschedule("work", "beat"),
    ):
        with pytest.raises(RuntimeError, match="has ended; open another"):
            await call
    with SyncProducer.connect(bench.url) as plain:
        pass
    with pytest.raises(RuntimeError, match="has ended; open another"):
        plain.submit("work", "go")
    assert not await bench.client.exists("bull:work:wait")


FORKS = """
import os, signal, sys
from jobcast import SyncProducer, SyncReporter
url, told = sys.argv[1], {"queue": "q", "name": "n", "job_id": "r"}
with SyncProducer.connect(url) as jobs, SyncReporter.connect(url, **told) as report:
    child = os.fork()
    if not child:
        signal.alarm(10)
        for call in (lambda: jobs.submit("work", "go"), lambda: report.progress(5)):
            try:
                call()
            except RuntimeError as error:
                print(error, flush=True)
        sys.exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    report.progress(50)
    jobs.submit("work", "go", None, {"jobId": "parents"})
"""


async def test_a_forked_process_is_told_to_connect_and_leaves_its_parent_s_connection_alone(
    bench: Bench,
) -> None:
    with ChildProcess([sys.executable, "-c", FORKS, bench.url], env=clean_environment()) as program:
        assert await program.exited(20) == 0, program.report
        assert program.stdout.count("connect again after a fork") == 2
    assert await bench.kinds("parents") == ["job-queued"]
    assert (await bench.kinds("r"))[-1] == "job-completed"


async def test_a_call_under_way_hears_of_the_end_of_its_block(start_redis: StartRedis) -> None:
    server, heard = start_redis(), []

    def submit(jobs: SyncProducer) -> None:
        try:
            jobs.submit("work", "go")
        except RuntimeError as error:
            heard.append(str(error))

    with SyncProducer.connect(server.url) as jobs:
        submit(jobs)
        server.pause()
        # A daemon: one that never hears of it must not keep the tests from ending.
        threading.Thread(target=submit, args=(jobs,), daemon=True).start()
        await asyncio.sleep(0.2)
    server.resume()
    await wait_until(lambda: heard, 5, "the call's end")
    assert "this call was done, or not" in heard[0]


async def test_a_redis_that_is_away_is_an_error_in_time() -> None:
    began = time.monotonic()
    async with Producer.connect("redis://127.0.0.1:1") as jobs:
        with pytest.raises(Unavailable):
            await jobs.submit("work", "go")
    assert time.monotonic() - began < 30


async def test_a_handler_adds_another_job_once_however_often_it_runs(bench: Bench) -> None:
    @bench.handler()
    async def go(ctx: Context) -> str:
        added = await ctx.submit("work", "after", ctx.data, {"jobId": f"after-{ctx.job_id}"})
        if ctx.attempt == 1:
            raise RuntimeError("again")
        return added.job_id

    @bench.handler(name="after")
    async def after(ctx: Context) -> Any:
        return ctx.data

    async with bench.worker():
        job_id = await bench.submit({"n": 7}, attempts=2)
        await bench.ended(job_id)
        events = await bench.ended(f"after-{job_id}")
    assert [event.kind for event in events].count("job-queued") == 1
    assert events[-1].result == {"n": 7}  # type: ignore[attr-defined]


async def test_a_plain_handler_adds_a_job_and_a_flow(bench: Bench) -> None:
    @bench.handler()
    def go(ctx: SyncContext) -> list[str]:
        job = ctx.submit("other", "go")
        flow = ctx.submit_flow({"queue": "other", "name": "sum", "children": [{"queue": "other", "name": "go"}]})
        return [job.job_id, flow.job_id]

    async with bench.worker():
        *_, done = await bench.ended(await bench.submit())
    for job_id in done.result:  # type: ignore[attr-defined]
        assert await bench.kinds(job_id) == ["job-queued"]


async def test_a_handler_that_runs_again_goes_on_with_the_flow_it_added_before(bench: Bench) -> None:
    @bench.handler()
    async def go(ctx: Context) -> str:
        children = [{"queue": "other", "name": "go"}]
        root = {"queue": "other", "name": "sum", "opts": {"jobId": f"sum-{ctx.job_id}"}, "children": children}
        try:
            job_id = (await ctx.submit_flow(root)).job_id
        except JobExists as there:
            job_id = there.job_id
        if ctx.attempt == 1:
            raise RuntimeError("again")
        return job_id

    async with bench.worker():
        job_id = await bench.submit(attempts=2)
        *_, done = await bench.ended(job_id)
    assert done.result == f"sum-{job_id}"  # type: ignore[attr-defined]
    assert await bench.client.zcard("bull:other:waiting-children") == 1
    assert await bench.client.llen("bull:other:wait") == 1


async def test_a_cancelled_attempt_adds_nothing_more(bench: Bench) -> None:
    began, raised = asyncio.Event(), asyncio.Event()

    @bench.handler()
    async def go(ctx: Context) -> None:
        began.set()
        while True:
            try:
                await ctx.submit("other", "go", opts={"jobId": "only"})
            except Cancelled:
                raised.set()
                raise
            await asyncio.sleep(0.05)

    async with bench.worker():
        job_id = await bench.submit()
        await asyncio.wait_for(began.wait(), 10)
        await bench.queues.cancel(job_id)
        await wait_until(raised.is_set, 10, "the handler to hear of it")
        await bench.ended(job_id)
