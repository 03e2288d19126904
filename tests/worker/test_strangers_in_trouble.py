"""A look that is cut off, jobs that go on meanwhile, one that is spoilt: the others' ends are told all the same."""

import asyncio
from collections.abc import Iterable
from typing import Any, cast

import pytest
from bullmq import Queue

from jobcast.shared.clock import now_ms
from jobcast.shared.events import Event, JobCompleted, JobFailed, JobQueued
from jobcast.shared.journal.contract import Reading
from jobcast.shared.keys import Keys
from jobcast.worker.streams import MOST_STREAMS, STEP, Stream, Streams
from tests.worker.conftest import Bench
from tests.worker.others import TOLD, added, ended, others


@pytest.mark.parametrize("kept", [True, False])
async def test_an_end_that_was_cut_off_after_its_start_is_told_by_the_next(
    bench: Bench, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await bench.submit(queue="theirs", remove_on_complete=not kept)
    await ended(bench, "theirs")
    append = bench.journal.append

    async def cut_off(event: Event, **how: Any) -> Any:
        if isinstance(event, JobCompleted):
            raise asyncio.CancelledError
        return await append(event, **how)

    monkeypatch.setattr(bench.journal, "append", cut_off)
    async with others(bench) as (first, _), others(bench) as (second, _):
        with pytest.raises(asyncio.CancelledError):
            await first.look()
        assert await bench.kinds(job_id) == TOLD[:2]
        monkeypatch.undo()
        await bench.commands.delete(Keys().lease("streams"))
        await second.look()
    assert await bench.kinds(job_id) == TOLD


async def test_a_job_that_went_on_before_it_was_told_is_told_as_it_ended_then(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, read_many = await added(bench, "j-1"), bench.journal.read_many
    await ended(bench, error="disk full")

    async def meanwhile(job_ids: Iterable[str]) -> list[Reading]:
        monkeypatch.undo()
        await job.retry("failed")
        await ended(bench)
        return await read_many(job_ids)

    async with others(bench) as (strangers, _):
        monkeypatch.setattr(bench.journal, "read_many", meanwhile)
        await strangers.look()
        await strangers.look()
    (_, last) = [event for event in await bench.events("j-1") if event.terminal or event.attempt == 2]
    assert isinstance(last, JobCompleted)
    assert (last.result, last.attempt) == ([7], 2)


async def test_a_job_queued_again_that_is_gone_before_it_is_looked_at_ends_by_the_stream(bench: Bench) -> None:
    job = await added(bench, "j-1", removeOnComplete=True)
    await ended(bench, error="disk full")
    async with others(bench) as (strangers, _):
        await strangers.look()
        await job.retry("failed")
        await ended(bench)
        await strangers.look()
    again, _, last = (await bench.events("j-1"))[-3:]
    assert isinstance(again, JobQueued)
    assert isinstance(last, JobCompleted)
    assert (again.name, again.attempt, last.attempt, last.result) == ("go", 2, 2, [7])
    assert await bench.kinds("j-1") == ["job-queued", "job-failed", *TOLD]


async def test_a_job_queued_again_that_was_drained_is_left_as_it_ended(bench: Bench) -> None:
    job = await added(bench, "j-1")
    await ended(bench, error="disk full")
    async with others(bench) as (strangers, _):
        await strangers.look()
        await job.retry("failed")
        await Queue("work", {"connection": bench.client}).drain()
        for _ in range(3):
            await strangers.look()
    assert await bench.kinds("j-1") == ["job-queued", "job-failed"]


async def test_a_spoilt_job_that_is_queued_again_keeps_no_other_waiting(bench: Bench) -> None:
    job = await added(bench, "spoilt")
    await ended(bench, error="disk full")
    async with others(bench) as (strangers, _):
        await strangers.look()
        await job.retry("failed")
        await bench.client.hset("bull:work:spoilt", "data", "{no JSON")
        await bench.submit(queue="theirs")
        await ended(bench, "theirs")
        await added(bench, "j-1", "theirs")
        await ended(bench, "theirs")
        await strangers.look()
    assert await bench.kinds("j-1") == TOLD


async def said(bench: Bench, queue: str, fields: dict[Any, Any], at: str = "*") -> None:
    """By hand, as some other program might."""
    await bench.client.xadd(f"bull:{queue}:events", fields, id=at)


async def test_results_of_any_size_are_read_in_pages_that_memory_can_hold(bench: Bench) -> None:
    """A hundred of 100 KB, of which no event could carry one: a page ends soon, and none is held."""
    for number in range(100):
        await said(bench, "work", {"event": "completed", "jobId": f"j-{number}", "returnvalue": f'"{"x" * 100_000}"'})
    streams = Streams(bench.commands, Keys(), "bull")
    stream = Stream("work", await streams.start())
    pages = 1
    while await streams.read([stream]):
        assert len(stream.ended) <= pages * STEP
        pages += 1
    assert (pages, len(stream.ended)) == (3, 100)
    assert stream.size == 0
    async with others(bench) as (strangers, _):
        for _ in range(2):
            await strangers.look()
    assert await bench.kinds("j-99") == TOLD


async def test_a_reason_of_any_length_is_told_by_its_beginning(bench: Bench) -> None:
    await said(bench, "work", {"event": "failed", "jobId": "j-1", "failedReason": "disk full " * 20_000})
    async with others(bench) as (strangers, _):
        await strangers.look()
    last = (await bench.events("j-1"))[-1]
    assert isinstance(last, JobFailed)
    assert last.error.startswith("disk full disk full")


async def test_what_is_no_text_and_a_stream_that_is_none_keep_no_job_waiting(bench: Bench) -> None:
    await bench.submit(queue="theirs")
    await bench.client.delete("bull:theirs:events")
    await bench.client.set("bull:theirs:events", "not a stream")
    await said(bench, "work", {"event": "completed", "jobId": b"j-\xff", "returnvalue": b"\xfe"})
    await added(bench, "j-1")
    await ended(bench)
    async with others(bench) as (strangers, _):
        for _ in range(2):
            await strangers.look()
    assert await bench.kinds("j-1") == TOLD


async def test_a_stream_that_begins_anew_after_the_clock_was_set_back_is_read(bench: Bench) -> None:
    await said(bench, "work", {"event": "added", "jobId": "later"}, f"{now_ms() + 3_600_000}-0")
    async with others(bench) as (strangers, _):
        await strangers.look()
        await bench.client.delete("bull:work:events")
        await added(bench, "j-1")
        await ended(bench)
        await strangers.look()
        await strangers.look()
    assert await bench.kinds("j-1") == TOLD


async def test_one_that_waits_again_and_was_not_told_is_read_again_by_the_next(bench: Bench) -> None:
    await said(bench, "work", {"event": "waiting", "jobId": "j-1", "prev": "failed"})
    streams = Streams(bench.commands, Keys(), "bull")
    stream = Stream("work", await streams.start())
    await streams.read([stream])
    read = Stream("work", stream.settled)
    await streams.read([read])
    assert list(read.again) == ["j-1"]
    stream.again.clear()
    assert stream.settled == stream.place


async def test_of_the_queues_without_number_those_are_forgotten_in_which_nothing_happens(bench: Bench) -> None:
    now = now_ms()
    places: dict[Any, Any] = {f"q-{number}": f"{now - 60_000 - number}-0" for number in range(MOST_STREAMS + 500)}
    await bench.commands.hset(Keys().streams(), mapping=places)
    await added(bench, "j-1")
    await ended(bench)
    async with others(bench) as (strangers, _):
        for _ in range(2):
            await strangers.look()
    kept = {name.decode() for name in cast("list[bytes]", await bench.commands.hkeys(Keys().streams()))}
    assert kept == {"work", *(f"q-{number}" for number in range(MOST_STREAMS - 1))}
    assert await bench.kinds("j-1") == TOLD
