"""The reporter: what reaches the journal, in which order; and the one for programs of other people."""

import asyncio
import math
import time
from typing import Any

import pytest

from jobcast import Cancelled, Reporter, SyncReporter
from jobcast.shared.errors import BadJobId, BadQueueName, BadRequest, NotPossible, PayloadTooLarge, Unavailable
from jobcast.shared.events import Event, JobCancelled, JobCompleted, JobFailed, JobProgress, JobStarted, decode
from jobcast.shared.journal import MemoryJournal
from jobcast.worker.reporter import Attempt, AttemptReporter
from tests.conftest import StartRedis
from tests.support.waiting import wait_until
from tests.worker.conftest import Bench, bench_at


async def _reporter() -> tuple[AttemptReporter, MemoryJournal]:
    journal = MemoryJournal()
    reporter = AttemptReporter(journal, Attempt("j1", "work", "go"))
    common: dict[str, Any] = {"job_id": "j1", "queue": "work", "attempt": 1, "timestamp": 1}
    await journal.append(JobStarted(**common, queue_to_start_time=0, worker="w"))
    return reporter, journal


async def _said(journal: MemoryJournal) -> list[Any]:
    events: list[Event] = [decode(entry.wire) for entry in await journal.history("j1")]
    return [event.progress if isinstance(event, JobProgress) else event.kind for event in events[1:]]


async def test_a_flood_of_progress_is_ten_events_a_second_and_the_last_is_told() -> None:
    reporter, journal = await _reporter()
    began = time.monotonic()
    for number in range(2000):
        await reporter.progress(number / 20)
        if number % 100 == 0:
            await asyncio.sleep(0.01)
    took = time.monotonic() - began
    await asyncio.sleep(0.15)
    said = await _said(journal)
    assert said[0] == 0
    assert said[-1] == 1999 / 20
    assert said == sorted(said)
    assert len(said) <= took / 0.1 + 3
    await reporter.close()


async def test_progress_said_before_a_line_stands_before_it() -> None:
    reporter, journal = await _reporter()
    await reporter.progress(1)
    await reporter.progress(2)
    await reporter.log("a")
    await reporter.progress(3)
    await asyncio.gather(reporter.progress(4), reporter.log("b"), reporter.progress(5))
    await reporter.log("c")
    said = await _said(journal)
    assert said[:3] == [1, 2, "job-log"]
    numbers = [each for each in said if each != "job-log"]
    assert numbers == sorted(numbers)
    assert said[-1] == "job-log"
    await reporter.close()


async def test_what_cannot_be_json_is_told_to_the_handler_at_once() -> None:
    reporter, journal = await _reporter()
    await reporter.progress(1)
    with pytest.raises(BadRequest):
        await reporter.progress(2, details=object())
    with pytest.raises(BadRequest):
        await reporter.progress({"a": {1, object()}})
    for broken in (math.nan, math.inf):
        with pytest.raises(BadRequest, match=r"job-progress cannot be written as JSON: it holds (nan|inf)"):
            await reporter.progress({"loss": broken})
        with pytest.raises(BadRequest):
            await reporter.progress(2, details=[{"loss": (1, broken)}])
    with pytest.raises(PayloadTooLarge):
        await reporter.progress(2, details="x" * 70_000)
    assert await _said(journal) == [1]
    await reporter.close()


async def test_the_answer_to_an_append_brings_the_request_to_cancel() -> None:
    reporter, journal = await _reporter()
    await journal.request_cancel("j1", "enough")
    await reporter.log("one more")
    for call in (reporter.progress(1), reporter.log("x"), reporter.check_cancelled()):
        with pytest.raises(Cancelled, match="enough"):
            await call
    assert reporter.cancel_requested == "enough"


async def test_what_the_journal_refuses_is_counted_and_hurts_nobody() -> None:
    reporter, journal = await _reporter()
    common: dict[str, Any] = {"job_id": "j1", "queue": "work", "attempt": 2, "timestamp": 1}
    await journal.append(JobStarted(**common, queue_to_start_time=0, worker="other"))
    await reporter.progress(5)
    await reporter.log("late")
    assert reporter._counts.refused == 2
    await reporter.close()


async def test_lines_and_progress_survive_a_redis_that_goes_and_comes(start_redis: StartRedis) -> None:
    redis = start_redis(appendonly=True, config={"appendfsync": "always"})
    async with bench_at(redis.url) as bench:
        async with Reporter.connect(redis.url, queue="work", name="go", job_id="j1") as report:
            await report.progress(1)
            redis.kill()
            await report.progress(2, "other stage")
            waiting = asyncio.create_task(report.log("kept"))
            await asyncio.sleep(0.3)
            await asyncio.to_thread(redis.start)
            await waiting
        events = await bench.events("j1")
    said = [getattr(event, "progress", event.kind) for event in events]
    assert said[:3] == ["job-queued", "job-queue-to-start", 1]
    assert said[-2:] == ["job-log", "job-completed"]
    assert said.count("job-log") == 1


async def test_a_program_of_ones_own_reports_a_job(bench: Bench) -> None:
    async with Reporter.connect(bench.url, queue="reports", name="monthly") as report:
        await report.progress(40, "rendering")
        await report.log("a line")
        await report.complete({"pages": 12})
        with pytest.raises(Cancelled):
            await report.log("after the end")
        with pytest.raises(NotPossible):
            await report.complete()
    events = await bench.events(report.job_id)
    assert [event.kind for event in events] == [
        "job-queued", "job-queue-to-start", "job-progress", "job-log", "job-completed",
    ]  # fmt: skip
    assert isinstance(events[-1], JobCompleted)
    assert events[-1].result == {"pages": 12}


@pytest.mark.parametrize("blocking", [True, False])
async def test_leaving_with_an_exception_fails_the_job(bench: Bench, blocking: bool) -> None:
    def plainly() -> None:
        with SyncReporter.connect(bench.url, queue="reports", name="monthly", job_id="r1") as report:
            report.progress(10)
            report.check_cancelled()
            raise ValueError("no paper")

    async def asynchronously() -> None:
        async with Reporter.connect(bench.url, queue="reports", name="monthly", job_id="r1") as report:
            await report.progress(10)
            raise ValueError("no paper")

    with pytest.raises(ValueError, match="no paper"):
        await (asyncio.to_thread(plainly) if blocking else asynchronously())
    last = (await bench.events("r1"))[-1]
    assert isinstance(last, JobFailed)
    assert (last.error, last.final) == ("ValueError: no paper", True)


async def test_a_plain_program_completes_by_leaving_and_goes_on_as_the_next_attempt(bench: Bench) -> None:
    def plainly() -> None:
        for result in (1, 2):
            with SyncReporter.connect(bench.url, queue="reports", name="monthly", job_id="r1") as report:
                report.log("hello")
                report.complete(result)

    await asyncio.to_thread(plainly)
    ends = [event for event in await bench.events("r1") if isinstance(event, JobCompleted)]
    assert [(event.attempt, event.result) for event in ends] == [(1, 1), (2, 2)]


async def test_a_program_of_ones_own_can_be_cancelled(bench: Bench) -> None:
    async def work() -> None:
        async with Reporter.connect(bench.url, queue="reports", name="monthly", job_id="r1") as report:
            while True:
                await report.check_cancelled()
                await asyncio.sleep(0.02)

    task = asyncio.create_task(work())
    await bench.seen("r1", "job-queue-to-start")
    assert await bench.queues.cancel("r1", "enough") == "cancelling"
    await wait_until(task.done)
    with pytest.raises(Cancelled, match="enough"):
        await task
    last = (await bench.events("r1"))[-1]
    assert isinstance(last, JobCancelled)
    assert last.reason == "enough"


async def test_a_result_that_does_not_fit_fails_the_job_that_gave_it(bench: Bench) -> None:
    with pytest.raises(PayloadTooLarge):
        async with Reporter.connect(bench.url, queue="reports", name="monthly", job_id="r1") as report:
            await report.complete("x" * 70_000)
    last = (await bench.events("r1"))[-1]
    assert isinstance(last, JobFailed)
    assert last.error.startswith("PayloadTooLarge: ")


async def test_a_job_of_another_queue_cannot_be_reported(bench: Bench) -> None:
    theirs = Reporter.connect(bench.url, queue="theirs", name="monthly", job_id="r1")
    await theirs.__aenter__()
    before = await bench.kinds("r1")
    with pytest.raises(NotPossible, match="job r1 belongs to another queue than ours; report under another id"):
        async with Reporter.connect(bench.url, queue="ours", name="monthly", job_id="r1"):
            raise AssertionError("it began")
    assert await bench.kinds("r1") == before
    await theirs.__aexit__(None, None, None)


@pytest.mark.parametrize("how", ["complete", "leave", "raise"])
async def test_a_job_that_went_on_without_us_says_so_at_its_end(bench: Bench, how: str) -> None:
    async def report_it() -> None:
        async with Reporter.connect(bench.url, queue="reports", name="monthly", job_id="r1") as report:
            common: dict[str, Any] = {"job_id": "r1", "queue": "reports", "attempt": 2, "timestamp": 1}
            await bench.journal.append(JobStarted(**common, queue_to_start_time=0, worker="other"))
            if how == "complete":
                await report.complete()
            if how == "raise":
                raise ValueError("no paper")

    words = "job r1 has gone on without this report of attempt 1: it is active"
    with pytest.raises(ValueError if how == "raise" else NotPossible) as raised:
        await report_it()
    assert (raised.value.__notes__ if how == "raise" else [str(raised.value)]) == [words]
    assert (await bench.events("r1"))[-1].attempt == 2


async def test_a_result_that_holds_no_number_is_refused_and_the_job_is_still_open(bench: Bench) -> None:
    async with Reporter.connect(bench.url, queue="reports", name="monthly", job_id="r1") as report:
        with pytest.raises(BadRequest, match="it holds nan"):
            await report.complete({"mean": math.nan, "none": None})
        await report.complete({"mean": None})
    last = (await bench.events("r1"))[-1]
    assert isinstance(last, JobCompleted)
    assert last.result == {"mean": None}


async def test_odd_names_are_refused_before_redis() -> None:
    nowhere = "redis://127.0.0.1:1/0"
    with pytest.raises(BadQueueName):
        await Reporter.connect(nowhere, queue="two words", name="x").__aenter__()
    with pytest.raises(BadJobId):
        await Reporter.connect(nowhere, queue="q", name="x", job_id="{}").__aenter__()
    with pytest.raises(Unavailable):
        await Reporter.connect(nowhere, queue="q", name="x").__aenter__()
