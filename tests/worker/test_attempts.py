"""Later attempts: in which order they are told, and how long they are said to have waited."""

import asyncio
import time
from typing import Any

import pytest
from bullmq import Job, Queue

from jobcast import Context, Unrecoverable
from jobcast.shared.events import Event, JobFailed, JobQueued, JobStarted
from jobcast.shared.journal.contract import DAY_MS
from jobcast.shared.journal.redis import RedisJournal
from jobcast.shared.keys import Keys
from jobcast.shared.options import Backoff
from jobcast.worker.reporter import AttemptReporter
from jobcast.worker.taken import TakenJob
from tests.support.waiting import wait_until
from tests.worker.conftest import Bench


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the journal refused."""
    said: list[str] = []
    monkeypatch.setattr(AttemptReporter, "_refused", lambda _, error: said.append(str(error)))
    return said


def starts(events: list[Event]) -> list[JobStarted]:
    return [event for event in events if isinstance(event, JobStarted)]


async def test_an_attempt_is_told_to_have_failed_before_the_next_begins(
    bench: Bench, refused: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second worker is waiting for whatever the first puts back, and news of a failure is slow."""
    append = RedisJournal.append

    async def late(journal: RedisJournal, event: Event, **how: Any) -> Any:
        if isinstance(event, JobFailed):
            await asyncio.sleep(0.02)
        return await append(journal, event, **how)

    monkeypatch.setattr(RedisJournal, "append", late)

    @bench.handler()
    async def go(ctx: Context) -> None:
        if ctx.attempt < 4:
            raise ValueError(ctx.attempt)

    jobs = [await bench.submit(attempts=4) for _ in range(12)]
    async with bench.worker(concurrency=8), bench.worker(concurrency=8):
        for job_id in jobs:
            events = await bench.ended(job_id)
            assert [(event.kind, event.attempt) for event in events] == [
                ("job-queued", 1),
                *(each for n in (1, 2, 3) for each in (("job-queue-to-start", n), ("job-failed", n))),
                ("job-queue-to-start", 4),
                ("job-completed", 4),
            ]
    assert refused == []


async def test_a_failure_is_in_the_journal_when_the_job_is_back_in_its_queue(
    bench: Bench, refused: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order itself, however quick the journal is."""
    seen: list[list[str]] = []
    retry, put_back = TakenJob.retry, TakenJob.put_back

    async def looked_at_retry(job: TakenJob, *how: Any) -> None:
        seen.append(await bench.kinds(job.id))
        await retry(job, *how)

    async def looked_at_put_back(job: TakenJob) -> None:
        seen.append(await bench.kinds(job.id))
        await put_back(job)

    monkeypatch.setattr(TakenJob, "retry", looked_at_retry)
    monkeypatch.setattr(TakenJob, "put_back", looked_at_put_back)

    @bench.handler()
    async def go(ctx: Context) -> None:
        if ctx.attempt == 1:
            raise ValueError
        await asyncio.sleep(60)

    job_id = await bench.submit(attempts=2)
    async with bench.worker(drain=0.1):
        await wait_until(lambda: _started(bench, job_id, 2))
    assert [kinds[-1] for kinds in seen] == ["job-failed", "job-failed"]
    assert refused == []


async def _started(bench: Bench, job_id: str, times: int) -> bool:
    return len(starts(await bench.events(job_id))) == times


async def test_a_failure_whose_lock_is_gone_is_not_told(bench: Bench, refused: list[str]) -> None:
    @bench.handler()
    async def go(ctx: Context) -> int:
        if ctx.attempt == 1:
            await bench.client.set(f"bull:work:{ctx.job_id}:lock", "someone else", px=50)
            raise ValueError
        return ctx.attempt

    job_id = await bench.submit(attempts=3)
    async with bench.worker():
        events = await bench.ended(job_id)
    assert [event.kind for event in events] == [
        "job-queued", "job-queue-to-start", "job-queue-to-start", "job-completed",
    ]  # fmt: skip
    assert refused == []


async def test_a_job_queued_again_by_hand_in_bullmq_alone_is_told_to_wait(bench: Bench, refused: list[str]) -> None:
    """As Node or a board does it: nobody told the journal."""

    @bench.handler()
    async def go(ctx: Context) -> int:
        if ctx.attempt == 1:
            raise Unrecoverable
        return ctx.attempt

    job_id = await bench.submit(attempts=3, delay=20)
    queue = Queue("work", {"connection": bench.client})
    async with bench.worker():
        await bench.ended(job_id)
        job = await Job.fromId(queue, job_id)
        assert job is not None
        await job.retry("failed")
        await bench.seen(job_id, "job-completed")
    events = await bench.events(job_id)
    assert [(event.kind, event.attempt) for event in events] == [
        ("job-queued", 1), ("job-queue-to-start", 1), ("job-failed", 1),
        ("job-queued", 2), ("job-queue-to-start", 2), ("job-completed", 2),
    ]  # fmt: skip
    again = events[3]
    assert isinstance(again, JobQueued)
    assert (again.leads_to, again.max_attempts) == ("waiting", 3)
    assert starts(events)[1].queue_to_start_time == 0
    assert refused == []


async def test_a_job_whose_record_is_gone_is_opened_by_the_attempt_at_hand(bench: Bench, refused: list[str]) -> None:
    @bench.handler()
    async def go(ctx: Context) -> None:
        if ctx.attempt == 1:
            await bench.commands.delete(f"jobcast:{{{ctx.job_id}}}:state", f"jobcast:{{{ctx.job_id}}}:history")
            await bench.client.set(f"bull:work:{ctx.job_id}:lock", "someone else", px=50)
            raise ValueError

    job_id = await bench.submit(attempts=3)
    async with bench.worker():
        events = await bench.ended(job_id)
    assert [(event.kind, event.attempt) for event in events] == [
        ("job-queued", 2), ("job-queue-to-start", 2), ("job-completed", 2),
    ]  # fmt: skip
    assert refused == []


async def test_the_time_in_the_queue_is_this_attempt_s_and_without_its_delay(bench: Bench) -> None:
    @bench.handler()
    async def go(ctx: Context) -> None:
        await asyncio.sleep(0.3)
        if ctx.attempt < 3:
            raise ValueError

    job_id = await bench.submit(attempts=3, delay=400, backoff=Backoff("fixed", 500))
    async with bench.worker():
        events = await bench.ended(job_id)
    failures = [event for event in events if isinstance(event, JobFailed)]
    assert [event.queue_to_start_time < 250 for event in starts(events)] == [True, True, True], events
    for failed, started in zip(failures, starts(events)[1:], strict=True):
        assert failed.retry_at is not None
        assert 0 <= started.timestamp - failed.retry_at < 300


async def test_a_job_that_waits_for_a_worker_is_said_to_have_waited(bench: Bench) -> None:
    fail = True

    @bench.handler()
    async def go(_: Context) -> None:
        if fail:
            raise ValueError

    job_id = await bench.submit(attempts=1)
    await asyncio.sleep(0.4)
    async with bench.worker():
        await bench.ended(job_id)
    fail = False
    await bench.queues.retry(job_id)
    asked = time.monotonic()
    await asyncio.sleep(0.3)
    async with bench.worker():
        await bench.seen(job_id, "job-completed")
    first, second = starts(await bench.events(job_id))
    assert first.queue_to_start_time >= 400
    assert 300 <= second.queue_to_start_time <= (time.monotonic() - asked) * 1000


async def test_a_job_that_waits_long_for_its_next_try_is_not_forgotten(bench: Bench) -> None:
    @bench.handler()
    async def go(_: Context) -> None:
        raise ValueError

    job_id = await bench.submit(attempts=2, backoff=Backoff("fixed", delay=DAY_MS))
    async with bench.worker():
        await bench.seen(job_id, "job-failed")
        assert await bench.commands.pttl(Keys().state(job_id)) > DAY_MS
