"""BullMQ and the journal agree on how a job ended, whoever died before he could tell."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from bullmq import Worker

from jobcast import Context, Reporter
from jobcast.shared.errors import Unavailable
from jobcast.shared.events import Event, JobCancelled, JobCompleted, JobFailed, JobQueued, JobStarted
from jobcast.worker.amends import Repairs
from jobcast.worker.consumer import Consumer
from jobcast.worker.queues import QueueDefinition
from jobcast.worker.reconciler import Reconciler, Timing
from jobcast.worker.repair import LOST
from tests.support.waiting import wait_until
from tests.worker.conftest import Bench

SOON = Timing(every=0.1, grace=0.2, gone_after=0.6)
AT_SIGHT = Timing(grace=0.0, gone_after=0.0)


@asynccontextmanager
async def _taken(bench: Bench, job_id: str, *, told: bool = True) -> AsyncIterator[Any]:
    """A worker takes the job, says that it begins, ends it as the block does, and is never heard of again."""
    worker = Worker("work", None, {"connection": bench.client, "autorun": False, "lockDuration": 30_000})
    job = await worker.getNextJob("token")
    assert job.id == job_id
    if told:
        start = JobStarted(
            job_id=job_id, queue="work", attempt=job.attemptsStarted, timestamp=1, queue_to_start_time=1, worker="w:1"
        )
        await bench.journal.append(start)
    yield job
    await worker.close(force=True)


@asynccontextmanager
async def _reconciler(bench: Bench, timing: Timing = AT_SIGHT) -> AsyncIterator[tuple[Reconciler, Repairs]]:
    """One that looks when it is told to."""

    async def nothing(_: Any) -> None: ...

    consumer, repairs = Consumer(bench.client, QueueDefinition("work"), nothing), Repairs()
    yield Reconciler(bench.journal, "work", consumer.ends, repairs, timing), repairs


def _handler(bench: Bench) -> None:
    @bench.handler()
    async def go(ctx: Context) -> int:
        return ctx.attempt


async def test_a_job_whose_worker_died_after_its_move_is_told_of_as_completed(bench: Bench) -> None:
    _handler(bench)
    job_id = await bench.submit()
    async with _taken(bench, job_id) as job:
        await asyncio.sleep(0.05)
        await job.moveToCompleted({"pages": 12}, "token")
    async with bench.worker(reconciling=SOON):
        events = await bench.ended(job_id)
    assert [event.kind for event in events] == ["job-queued", "job-queue-to-start", "job-completed"]
    last, kept = events[-1], await bench.bullmq(job_id)
    assert isinstance(last, JobCompleted)
    assert (last.attempt, last.result, last.timestamp) == (1, {"pages": 12}, int(kept["finishedOn"]))
    assert last.processing_time == int(kept["finishedOn"]) - int(kept["processedOn"]) >= 40
    assert last.total_time == int(kept["finishedOn"]) - int(kept["timestamp"])


async def test_a_failure_keeps_its_reason_and_a_cancel_is_one(bench: Bench) -> None:
    _handler(bench)
    ends = {}
    for reason in ("disk full", "Cancelled: enough"):
        job_id = await bench.submit()
        async with _taken(bench, job_id) as job:
            await job.moveToFailed(RuntimeError(reason), "token")
        ends[reason] = job_id
    async with bench.worker(reconciling=SOON):
        *_, failed = await bench.ended(ends["disk full"])
        *_, cancelled = await bench.ended(ends["Cancelled: enough"])
    assert isinstance(failed, JobFailed)
    assert (failed.error, failed.attempts, failed.max_attempts, failed.final) == ("disk full", 1, 1, True)
    assert isinstance(cancelled, JobCancelled)
    assert cancelled.reason == "enough"


async def test_a_job_done_by_a_worker_that_told_nothing_is_told_from_start_to_end(bench: Bench) -> None:
    _handler(bench)
    job_id = await bench.submit(attempts=2)
    async with _taken(bench, job_id, told=False) as job:
        await job.moveToFailed(RuntimeError("first"), "token")
    async with _taken(bench, job_id, told=False) as job:
        await job.moveToCompleted("done", "token")
    async with bench.worker(reconciling=SOON):
        queued, started, completed = await bench.ended(job_id)
    assert isinstance(started, JobStarted)
    assert isinstance(completed, JobCompleted)
    assert (queued.attempt, started.attempt, started.worker) == (1, 2, "unknown")
    assert (completed.attempt, completed.result) == (2, "done")


@pytest.mark.parametrize("completed", [True, False])
async def test_the_end_of_a_job_that_was_not_kept_is_found_in_bullmq_s_stream(bench: Bench, completed: bool) -> None:
    _handler(bench)
    job_id = await bench.submit(remove_on_complete=True, remove_on_fail=True)
    async with _taken(bench, job_id) as job:
        await (job.moveToCompleted([7], "token") if completed else job.moveToFailed(RuntimeError("no"), "token"))
    assert await bench.bullmq(job_id) == {}
    async with bench.worker(reconciling=Timing(every=0.1, grace=0.2)):
        *_, last = await bench.ended(job_id)
    assert last.attempt == 1
    assert last.result == [7] if isinstance(last, JobCompleted) else last.error == "no"  # type: ignore[attr-defined]
    assert last.kind == ("job-completed" if completed else "job-failed")


@pytest.mark.parametrize("asked", [True, False])
async def test_a_job_that_was_removed_is_told_of_as_over_but_not_soon(bench: Bench, asked: bool) -> None:
    job_id = await bench.submit()
    if asked:
        assert await bench.journal.request_cancel(job_id, "enough")
    await bench.client.delete(f"bull:work:{job_id}", "bull:work:wait", "bull:work:events")  # and nothing tells of it
    async with _reconciler(bench, Timing(grace=0.0, gone_after=0.3)) as (reconciler, repairs):
        await reconciler.look()
        await reconciler.look()
        assert await bench.kinds(job_id) == ["job-queued"], "a worker that lives may still know"
        await asyncio.sleep(0.3)
        await reconciler.look()
    *_, last = await bench.events(job_id)
    assert isinstance(last, JobCancelled | JobFailed)
    assert (last.reason if isinstance(last, JobCancelled) else last.error) == ("enough" if asked else LOST)
    assert repairs == Repairs(told=1)


@pytest.mark.parametrize("opts", [{}, {"delay": 60_000}, {"priority": 1}], ids=["waits", "delayed", "with priority"])
async def test_a_job_removed_while_it_waited_is_told_of_as_cancelled(bench: Bench, opts: dict[str, Any]) -> None:
    jobs = [await bench.submit(**opts) for _ in range(2)]
    assert await bench.journal.request_cancel(jobs[1], "enough")
    for job_id in jobs:
        await (await bench.queues.handle("work")).remove(job_id)
    async with _reconciler(bench, Timing(grace=0.0)) as (reconciler, repairs):
        await reconciler.look()
    last = [(await bench.events(job_id))[-1] for job_id in jobs]
    assert [isinstance(each, JobCancelled) and each.reason for each in last] == ["removed from its queue", "enough"]
    assert repairs == Repairs(told=2)


async def test_jobs_drained_by_others_are_told_of_as_cancelled_and_one_that_began_is_not(bench: Bench) -> None:
    waits: list[dict[str, Any]] = [{}, {"delay": 60_000}, {"priority": 1}]
    ran = await bench.submit()
    drained = [await bench.submit(**opts) for opts in waits]
    async with _taken(bench, ran), _reconciler(bench, Timing(grace=0.0)) as (reconciler, repairs):
        await (await bench.queues.handle("work")).drain(True)
        await bench.client.delete(f"bull:work:{ran}")
        await reconciler.look()
    assert [(await bench.kinds(job_id))[-1] for job_id in drained] == ["job-cancelled"] * 3
    assert (await bench.kinds(ran))[-1] == "job-queue-to-start"
    assert repairs == Repairs(told=3)


async def test_what_disagrees_for_a_moment_is_left_alone(bench: Bench) -> None:
    """Every end is on its way for a moment; and what still changes is in somebody's hand."""
    job_id = await bench.submit()
    async with _taken(bench, job_id) as job:
        await job.moveToCompleted(None, "token")
    async with _reconciler(bench, Timing(grace=0.3)) as (reconciler, repairs):
        await reconciler.look()
        await asyncio.sleep(0.3)
        assert await bench.journal.request_cancel(job_id, "late")
        common: dict[str, Any] = {"job_id": job_id, "queue": "work", "attempt": 1, "timestamp": 1}
        await bench.journal.append(JobStarted(**common | {"attempt": 2}, queue_to_start_time=0, worker="w:2"))
        await reconciler.look()
        await reconciler.look()
        assert "job-completed" not in await bench.kinds(job_id)
        await asyncio.sleep(0.3)
        await reconciler.look()
    assert (await bench.kinds(job_id))[-1] == "job-completed"
    assert repairs == Repairs(told=1)


async def test_jobs_that_wait_run_or_are_reported_by_a_program_are_left_alone(bench: Bench) -> None:
    running, waiting = await bench.submit(), await bench.submit()
    later = await bench.submit(delay=60_000)
    async with (
        Reporter.connect(bench.url, queue="work", name="monthly", job_id="r1") as report,
        _reconciler(bench) as (reconciler, repairs),
        _taken(bench, running),
    ):
        for _ in range(3):
            await reconciler.look()
        await report.log("still here")
    assert [len(await bench.kinds(each)) for each in (running, waiting, later)] == [2, 1, 1]
    assert repairs == Repairs()


async def test_a_retry_that_reached_the_journal_alone_is_sent_on(bench: Bench) -> None:
    _handler(bench)
    job_id = await bench.submit()
    async with _taken(bench, job_id) as job:
        await job.moveToFailed(RuntimeError("first"), "token")
    async with bench.worker(reconciling=SOON):
        await bench.ended(job_id)
        again = JobQueued(job_id=job_id, queue="work", attempt=2, timestamp=1, name="go", max_attempts=1)
        await bench.journal.append(again)
        completed = await bench.seen(job_id, "job-completed")
    assert isinstance(completed, JobCompleted)
    assert (completed.attempt, completed.result) == (2, 2)


async def test_two_that_see_the_same_tell_it_once(bench: Bench) -> None:
    jobs = [await bench.submit() for _ in range(20)]
    for job_id in jobs:
        async with _taken(bench, job_id, told=False) as job:
            await job.moveToCompleted(None, "token")
    async with _reconciler(bench) as (one, first), _reconciler(bench) as (other, second):
        await asyncio.gather(one.look(), other.look())
    for job_id in jobs:
        assert await bench.kinds(job_id) == ["job-queued", "job-queue-to-start", "job-completed"]
    assert first.told + second.told == len(jobs)
    assert first.refused + second.refused == 0


async def test_every_page_of_a_long_queue_is_looked_at(bench: Bench) -> None:
    oldest = await bench.submit()
    for _ in range(405):
        await bench.submit()
    async with _taken(bench, oldest) as job:
        await job.moveToCompleted(None, "token")
    record = await bench.commands.hgetall(f"jobcast:{{{oldest}}}:state")
    await bench.commands.zadd("jobcast:queue:{work}:live", {oldest: 1})
    assert record[b"state"] == b"active"
    async with _reconciler(bench) as (reconciler, repairs):
        await reconciler.look()
    assert repairs == Repairs(told=1)


async def test_a_result_no_event_can_carry_is_left_out(bench: Bench) -> None:
    for result in ("x" * 70_000, "NaN"):
        job_id = await bench.submit()
        async with _taken(bench, job_id) as job:
            await job.moveToCompleted(result, "token")
        text = json.dumps(result) if len(result) > 3 else result
        await bench.client.hset(f"bull:work:{job_id}", "returnvalue", text)
        async with _reconciler(bench) as (reconciler, _):
            await reconciler.look()
        *_, last = await bench.events(job_id)
        assert isinstance(last, JobCompleted)
        assert last.result is None


async def test_a_job_queued_again_under_its_id_by_others_ends_as_itself(bench: Bench) -> None:
    """The record of the first, that its worker left open, is not given the end of the second."""
    first = await bench.submit(job_id="daily")
    async with _taken(bench, first):
        pass
    await bench.client.flushdb()  # BullMQ's half of it; the journal's is put back
    await bench.journal.append(
        JobQueued(job_id="daily", queue="work", attempt=1, timestamp=1, name="go", max_attempts=1), born=1
    )
    epoch = (await bench.journal.read("daily")).position
    queue = await bench.queues.handle("work")
    await queue.add("go", {}, {"jobId": "daily"})
    async with _taken(bench, "daily", told=False) as job:
        await job.moveToCompleted("second", "token")
    async with _reconciler(bench) as (reconciler, _):
        await reconciler.look()
    position = (await bench.journal.read("daily")).position
    assert epoch is not None
    assert position is not None
    assert position.epoch != epoch.epoch
    assert await bench.kinds("daily") == ["job-queued", "job-queue-to-start", "job-completed"]


async def test_a_worker_reconciles_through_a_redis_that_goes_and_comes(bench: Bench) -> None:
    _handler(bench)
    async with bench.worker(reconciling=SOON) as service:
        killed = time.monotonic()
        await bench.commands.client_kill_filter(_type="normal", skipme=False)
        job_id = await bench.submit()
        await bench.ended(job_id)
        await wait_until(lambda: time.monotonic() - killed > 0.5)
        assert service._repairs == Repairs()


async def test_a_repair_cut_off_between_its_two_events_is_gone_on_with(bench: Bench) -> None:
    _handler(bench)
    job_id = await bench.submit()
    async with _taken(bench, job_id, told=False) as job:
        await job.moveToCompleted({"pages": 12}, "token")
    append = bench.journal.append

    async def refused(event: Event, **more: Any) -> Any:
        if event.kind == "job-completed":
            raise Unavailable("Redis is away")
        return await append(event, **more)

    async with _reconciler(bench) as (one, _):
        bench.journal.append = refused  # type: ignore[method-assign]
        while (await bench.journal.read(job_id)).fields["state"] != b"active":
            with contextlib.suppress(Unavailable):
                await one.look()
            await asyncio.sleep(0.05)
        bench.journal.append = append  # type: ignore[method-assign]
    async with _reconciler(bench) as (another, _):
        for _ in range(4):
            await another.look()
            await asyncio.sleep(0.05)
    assert (await bench.journal.read(job_id)).fields["state"] == b"completed"
