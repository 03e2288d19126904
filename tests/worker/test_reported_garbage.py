"""What no event can carry, said by a handler or a program of one's own: told to it at once, and the job goes on."""

import math
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from jobcast import Reporter
from jobcast.shared.errors import BadRequest, JobcastError, PayloadTooLarge
from jobcast.shared.events import JobLog, JobProgress
from jobcast.worker.context import Context
from tests.shared.test_events import nested
from tests.worker.conftest import Bench

GARBAGE: dict[str, tuple[Any, type[JobcastError]]] = {
    "over the cap": ("x" * 70_000, PayloadTooLarge),
    "not UTF-8": ("half a surrogate: \ud800", BadRequest),
    "not UTF-8, as a key": ({"\udfff": 1}, BadRequest),
    "NaN": ({"loss": math.nan}, BadRequest),
    "infinity, far within": ([[{"loss": (1, -math.inf)}]], BadRequest),
    "nesting of 100,000": (nested(100_000), BadRequest),
    "nesting of 100,000 objects": (nested(100_000, as_dict=True), BadRequest),
    "an integer of a million digits": ({"n": 10**1_000_000}, BadRequest),
    "an integer of 65 bits": ([2**64], BadRequest),
    "no value of JSON": (object(), BadRequest),
}
ROWS = pytest.mark.parametrize(("garbage", "refusal"), GARBAGE.values(), ids=GARBAGE)
Report = Context | Reporter


async def refuses(report: Report, garbage: Any, refusal: type[JobcastError]) -> None:
    """Say it in every place where it can be said, and something sensible after each."""
    places: list[Callable[[], Awaitable[None]]] = [
        lambda: report.progress(1, details=garbage),
        lambda: report.progress({"a": garbage}),
    ]
    for place in places:
        with pytest.raises(refusal) as caught:
            await place()
        assert len(str(caught.value)) < 400
        await report.log("and on")
    await report.progress(100, "last")


SAID = ["job-queued", "job-queue-to-start", "job-log", "job-log", "job-progress", "job-completed"]


@ROWS
async def test_a_handler_is_told_and_its_next_event_is_recorded(
    bench: Bench, garbage: Any, refusal: type[JobcastError]
) -> None:
    @bench.handler()
    async def go(ctx: Context) -> str:
        await refuses(ctx, garbage, refusal)
        return "done"

    job_id = await bench.submit()
    async with bench.worker():
        events = await bench.ended(job_id)
    assert [event.kind for event in events] == SAID


@ROWS
async def test_a_result_of_garbage_fails_its_job_by_name_and_the_next_job_runs(
    bench: Bench, garbage: Any, refusal: type[JobcastError]
) -> None:
    @bench.handler()
    async def go(ctx: Context) -> Any:
        return garbage if ctx.data == "garbage" else ctx.data

    bad, good = await bench.submit("garbage"), await bench.submit("good")
    async with bench.worker():
        failed, ended = (await bench.ended(bad))[-1], (await bench.ended(good))[-1]
    assert (failed.kind, ended.kind) == ("job-failed", "job-completed")
    assert len(getattr(failed, "error", "")) < 1000


@ROWS
async def test_a_program_of_ones_own_is_told_and_its_next_event_is_recorded(
    bench: Bench, garbage: Any, refusal: type[JobcastError]
) -> None:
    async with Reporter.connect(bench.url, queue="reports", name="monthly", job_id="r1") as report:
        await refuses(report, garbage, refusal)
        if refusal is BadRequest:
            with pytest.raises(BadRequest):
                await report.complete(garbage)
    assert await bench.kinds("r1") == SAID


NUMBERS = {"NaN": math.nan, "infinity": math.inf, "a truth": True, "text": "50"}


@pytest.mark.parametrize("number", NUMBERS.values(), ids=NUMBERS)
async def test_a_number_that_is_no_progress_is_refused(bench: Bench, number: Any) -> None:
    async with Reporter.connect(bench.url, queue="reports", name="monthly", job_id="r1") as report:
        with pytest.raises(BadRequest):
            await report.progress(number)
        await report.log("and on")
    assert (await bench.kinds("r1"))[-2:] == ["job-log", "job-completed"]


async def test_a_number_beyond_64_bits_is_progress_clamped(bench: Bench) -> None:
    async with Reporter.connect(bench.url, queue="reports", name="monthly", job_id="r1") as report:
        await report.progress(10**300)
        await report.log("and on")
    told = (await bench.events("r1"))[-3]
    assert isinstance(told, JobProgress)
    assert told.progress == 100


@pytest.mark.parametrize("line", [7, None, b"bytes"])
async def test_a_line_that_is_no_text_is_refused(bench: Bench, line: Any) -> None:
    async with Reporter.connect(bench.url, queue="reports", name="monthly", job_id="r1") as report:
        with pytest.raises(BadRequest):
            await report.log(line)
        await report.log("and on")
    assert (await bench.kinds("r1"))[-2:] == ["job-log", "job-completed"]


@pytest.mark.parametrize("line", ["half a surrogate: \ud800", "x" * 10**6], ids=["not UTF-8", "over the cap"])
async def test_a_line_is_made_fit_rather_than_lost(bench: Bench, line: str) -> None:
    async with Reporter.connect(bench.url, queue="reports", name="monthly", job_id="r1") as report:
        await report.log(line)
    kept = (await bench.events("r1"))[-2]
    assert isinstance(kept, JobLog)
    assert kept.line[:15].encode() == line[:15].encode()
