"""Jobs that no worker of ours ran are told of all the same: by BullMQ's streams, once, whoever reads them."""

import asyncio
from typing import Any

import pytest
from bullmq import FlowProducer, Queue

from jobcast import Context
from jobcast.shared.events import JobCancelled, JobCompleted, JobFailed, JobQueued, JobStarted
from jobcast.shared.keys import Keys
from jobcast.shared.parents import Parents
from jobcast.worker.amends import Repairs
from jobcast.worker.strangers import Timing
from jobcast.worker.streams import BACK_MS
from tests.worker.conftest import Bench
from tests.worker.flows import counts, node, shows, snapshot, submit
from tests.worker.others import TOLD, added, ended, others


async def test_a_job_that_others_added_and_ran_is_told_from_its_announcement_to_its_end(bench: Bench) -> None:
    await added(bench, "j-1")
    await ended(bench)
    async with others(bench) as (strangers, repairs):
        await strangers.look()
        await strangers.look()
    born, started, last = await bench.events("j-1")
    kept = await bench.bullmq("j-1")
    assert isinstance(born, JobQueued)
    assert isinstance(started, JobStarted)
    assert isinstance(last, JobCompleted)
    assert (born.name, born.timestamp, started.worker) == ("go", int(kept["timestamp"]), "unknown")
    assert (last.result, last.timestamp, last.attempt) == ([7], int(kept["finishedOn"]), 1)
    assert repairs == Repairs(strange=1)


async def test_a_failure_of_others_keeps_its_reason_and_its_attempts(bench: Bench) -> None:
    await added(bench, "j-1", attempts=2)
    await ended(bench, error="disk full")
    async with others(bench) as (strangers, _):
        await strangers.look()
        assert await bench.kinds("j-1") == [], "it is tried again"
        await ended(bench, error="disk full")
        await strangers.look()
    last = (await bench.events("j-1"))[-1]
    assert isinstance(last, JobFailed)
    assert (last.error, last.attempt, last.attempts, last.max_attempts, last.final) == ("disk full", 2, 2, 2, True)


async def test_of_a_job_that_is_not_kept_the_stream_alone_tells(bench: Bench) -> None:
    await added(bench, "j-1", removeOnComplete=True)
    await ended(bench)
    assert await bench.bullmq("j-1") == {}
    async with others(bench) as (strangers, _):
        await strangers.look()
    born, _, last = await bench.events("j-1")
    assert isinstance(born, JobQueued)
    assert isinstance(last, JobCompleted)
    assert (born.name, last.result) == ("go", [7])


async def test_a_queue_that_none_of_our_workers_works_is_read_as_well(bench: Bench) -> None:
    job_id = await bench.submit(queue="theirs")
    await ended(bench, "theirs")
    bench.handler()(_nothing)
    async with bench.worker():
        events = await bench.ended(job_id)
    assert [event.kind for event in events] == TOLD


async def test_a_job_that_others_queue_again_waits_again_and_so_to_its_next_end(bench: Bench) -> None:
    job = await added(bench, "j-1")
    await ended(bench, error="disk full")
    async with others(bench) as (strangers, _):
        await strangers.look()
        await job.retry("failed")
        await strangers.look()
        again = (await bench.events("j-1"))[-1]
        assert isinstance(again, JobQueued)
        assert again.attempt == 2
        await ended(bench)
        await strangers.look()
        await job.retry("completed")
        await ended(bench)
        await strangers.look()
    assert await bench.kinds("j-1") == ["job-queued", "job-failed", *TOLD, *TOLD]


async def test_a_job_that_others_remove_while_it_waits_is_cancelled(bench: Bench) -> None:
    plain, asked, back = [await bench.submit(queue="theirs") for _ in range(3)]
    await bench.journal.request_cancel(asked, "enough")
    theirs = Queue("theirs", {"connection": bench.client})
    await added(bench, "unheard-of", "theirs")
    for job_id in (plain, asked, back, "unheard-of"):
        await theirs.remove(job_id)
    await added(bench, back, "theirs")
    async with others(bench) as (strangers, repairs):
        await strangers.look()
    last = [(await bench.events(job_id))[-1] for job_id in (plain, asked)]
    assert [isinstance(each, JobCancelled) and each.reason for each in last] == ["removed from its queue", "enough"]
    assert await bench.kinds(back) == ["job-queued"], "it waits again"
    assert await bench.kinds("unheard-of") == []
    assert repairs == Repairs(strange=2)


async def test_what_ours_run_is_left_to_them(bench: Bench) -> None:
    bench.handler()(_nothing)
    async with others(bench) as (strangers, repairs):
        await strangers.look()  # and so is the one who reads
        async with bench.worker():
            jobs = [await bench.submit() for _ in range(20)]
            while await bench.client.zcard("bull:work:completed") < len(jobs):
                await strangers.look()
            await strangers.look()
    for job_id in jobs:
        assert await bench.kinds(job_id) == TOLD
    assert repairs == Repairs()


async def test_who_has_only_just_ended_a_job_is_given_time_to_tell_it(bench: Bench) -> None:
    await added(bench, "j-1")
    await ended(bench)
    async with others(bench, Timing(grace=0.3)) as (strangers, _):
        await strangers.look()
        await strangers.look()
        assert await bench.kinds("j-1") == []
        await asyncio.sleep(0.3)
        await strangers.look()
    assert await bench.kinds("j-1") == TOLD


async def test_one_worker_reads_and_the_next_one_goes_on_where_it_died(bench: Bench) -> None:
    await added(bench, "j-1")
    await ended(bench)
    async with others(bench, Timing(grace=600)) as (first, _), others(bench) as (second, repairs):
        await first.look()  # heard, and not told yet
        await second.look()
        assert await bench.kinds("j-1") == [], "the first one reads"
        await bench.commands.delete(Keys().lease("streams"))
        await second.look()
    assert await bench.kinds("j-1") == TOLD
    assert repairs.strange == 1


async def test_nothing_is_read_twice_by_who_comes_next(bench: Bench) -> None:
    await added(bench, "j-1")
    await ended(bench)
    async with others(bench) as (first, _), others(bench) as (second, repairs):
        await first.look()
        await first.look()
        await bench.commands.delete(Keys().lease("streams"))
        await bench.commands.delete(Keys().state("j-1"), Keys().queue_index("work"))  # its record has expired
        await second.look()
    assert repairs.strange == 0
    assert (await bench.journal.read("j-1")).position is None


async def test_what_ended_long_before_we_came_is_history(bench: Bench) -> None:
    await added(bench, "j-1")
    await ended(bench)
    await bench.client.delete("bull:work:events")
    seconds, _ = await bench.client.time()
    entry: dict[Any, Any] = {"event": "completed", "jobId": "j-1", "returnvalue": "[7]"}
    await bench.client.xadd("bull:work:events", entry, id=f"{seconds * 1000 - BACK_MS - 5000}-0")
    async with others(bench) as (strangers, _):
        await strangers.look()
    assert await bench.kinds("j-1") == []


async def test_a_child_that_others_ran_counts_for_its_parent_at_once(bench: Bench) -> None:
    told = await submit(bench, node("work", "go", node("theirs"), node("theirs")))
    async with others(bench) as (strangers, _):
        await strangers.look()
        await ended(bench, "theirs")
        await strangers.look()
        assert counts(await shows(bench, told.job_id, 45.0))["completed"] == 1


async def test_a_child_in_a_queue_that_the_journal_never_heard_of_is_told_from_its_parent_s_birth_on(
    bench: Bench,
) -> None:
    """The flow is Node's, one child is over before anybody of ours has seen its parent, and one failed."""
    jobs = [{"name": "go", "queueName": name, "opts": {"ignoreDependencyOnFailure": True}} for name in ("x", "y", "z")]
    flow = {"name": "go", "queueName": "work", "children": jobs}
    tree = await FlowProducer({"connection": bench.client}).add(flow)
    parent, children = tree["job"].id, [each["job"].id for each in tree["children"]]
    await ended(bench, "x")
    await ended(bench, "y", error="disk full")
    async with others(bench) as (strangers, _):
        await strangers.look()
        assert await bench.kinds(children[0]) == []
        await Parents(bench.client, bench.journal).tell_standing("work", parent)
        await strangers.look()
        await ended(bench, "z")
        await strangers.look()
    assert [(await bench.kinds(child))[-1] for child in children] == ["job-completed", "job-failed", "job-completed"]
    assert [counts(await snapshot(bench, parent))[state] for state in ("completed", "failed", "waiting")] == [2, 1, 0]


@pytest.mark.parametrize("job_id", ["no id of ours!", "j" * 200])
async def test_a_job_whose_id_the_journal_cannot_hold_keeps_no_other_waiting(bench: Bench, job_id: str) -> None:
    for each in (job_id, "j-1"):
        await added(bench, each)
        await ended(bench)
    async with others(bench) as (strangers, _):
        await strangers.look()
        await strangers.look()
    assert await bench.kinds("j-1") == TOLD
    assert await bench.kinds(job_id) == []


async def test_an_end_that_its_worker_is_about_to_tell_is_left_to_it(bench: Bench) -> None:
    job_id = await bench.submit()
    start = JobStarted(job_id=job_id, queue="work", attempt=1, timestamp=1, queue_to_start_time=1, worker="w:1")
    await bench.journal.append(start)
    await ended(bench)
    async with others(bench) as (strangers, _):
        await strangers.look()
        await strangers.look()
    assert await bench.kinds(job_id) == TOLD[:2]


async def _nothing(ctx: Context) -> None: ...


@pytest.mark.parametrize("steps", range(0, 120, 4))
async def test_who_ends_lets_the_next_one_read_at_once_wherever_its_look_is_cut_off(bench: Bench, steps: int) -> None:
    async with others(bench, Timing(every=0.0)) as (strangers, _):
        await bench.commands.ping()  # no connection is to be made
        reading = asyncio.create_task(strangers.keep(asyncio.Event()))
        for _ in range(steps):
            await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait([reading])
    assert not await bench.commands.exists(Keys().lease("streams"))
