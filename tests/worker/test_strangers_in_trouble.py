"""A look that is cut off, jobs that go on meanwhile, one that is spoilt: the others' ends are told all the same."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from bullmq import Queue

from jobcast.shared.events import Event, JobCompleted, JobQueued
from jobcast.shared.journal.contract import Reading
from jobcast.shared.keys import Keys
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
