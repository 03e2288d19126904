"""What an operator does: BullMQ's record and the journal's say the same afterwards. Named for reference-systems.md."""

import json
from typing import Any

import pytest
from bullmq import FlowProducer

from jobcast.shared.errors import BadRequest, NotPossible, UnknownJob
from jobcast.shared.events import JobCancelled
from jobcast.shared.operations import CANCELLED, MOST_AT_ONCE, Operations
from jobcast.worker.errors import CANCELLED as OF_THE_WORKER
from tests.contract.jobs import NOW
from tests.shared.bullmq import Site, fail, submit


@pytest.fixture
def operations(site: Site) -> Operations:
    return Operations(site.queues, site.journal)


async def agree(site: Site, job_id: str, state: str) -> None:
    """Both records say so."""
    assert await site.state(job_id) == state
    kept = await site.kept(job_id)
    assert (None if kept is None else await kept.getState()) == (None if state == "cancelled" else state)


# Job details: state, progress, attempts, data, reason.


async def test_system_2_job_details_tell_state_progress_attempts_data_and_reason(
    site: Site, operations: Operations
) -> None:
    job_id = await submit(site, attempts=2, priority=3)
    async with site.taken(job_id) as job:
        await job.log("reading")
        await job.updateProgress(40)
        await job.moveToFailed(RuntimeError("disk full"), "token")
    found = await operations.details(job_id)
    assert (found.name, found.queue, found.data, found.kept) == ("encode", "films", {"film": 7}, True)
    assert (found.attempts_made, found.attempts_started, found.max_attempts) == (1, 1, 2)
    assert (found.failed_reason, found.progress, found.logs, found.priority) == ("disk full", 40, ["reading"], 3)
    assert found.opts["attempts"] == 2
    assert len(found.stacktrace) == 1
    assert [event[0] for event in found.events] == ["job-queued", "job-queue-to-start"]
    assert found.worker == "w"


async def test_details_of_a_job_only_one_record_has(site: Site, operations: Operations) -> None:
    done = await submit(site, removeOnComplete=True)
    await site.complete(done)
    found = await operations.details(done)
    assert (found.kept, found.state, found.return_value) == (False, "completed", {"ok": True})
    foreign = await site.queue().add("encode", {"big": 10**30}, {"jobId": "foreign"})
    with pytest.raises(UnknownJob, match="name its queue"):
        await operations.details(foreign.id)
    found = await operations.details(foreign.id, "films")
    assert (found.state, found.bullmq_state, found.data) == ("waiting", "waiting", f"{{'big': 1{'0' * 30}}}")
    with pytest.raises(UnknownJob):
        await operations.details("nobody", "films")


async def test_jobs_are_listed_by_bullmqs_states_a_page_at_a_time(site: Site, operations: Operations) -> None:
    failed = [await fail(site) for _ in range(3)]
    waiting = [await submit(site) for _ in range(3)]
    assert [each.id for each in await operations.jobs("films", "failed")] == failed[::-1]
    assert [each.id for each in await operations.jobs("films", "waiting", start=1, limit=1)] == waiting[1:2]
    (found,) = await operations.jobs("films", "waiting", limit=1)
    assert (found.name, found.state, found.max_attempts, found.data) == ("encode", "waiting", 1, None)
    assert found.timestamp == (await site.kept(waiting[0])).timestamp
    (found,) = await operations.jobs("films", "failed", limit=1)
    assert (found.failed_reason, found.attempts_made, found.attempts_started) == ("disk full", 1, 1)
    site.behind.hset(f"bull:films:{failed[2]}", mapping={"opts": "no json", "atm": "many"})
    site.behind.zadd("bull:films:failed", {"ghost": 1})
    assert [each.id for each in await operations.jobs("films", "failed")] == failed[::-1]
    for state, start, limit in (("gone", 0, 1), ("failed", -1, 1), ("failed", 0, 0), ("failed", 0, 1000)):
        with pytest.raises(BadRequest):
            await operations.jobs("films", state, start=start, limit=limit)


# Retry all failed.


async def test_system_2_all_failed_jobs_are_retried_in_bounded_batches(site: Site, operations: Operations) -> None:
    failed = [await fail(site) for _ in range(5)]
    first = await operations.retry_failed("films", limit=2)
    assert (first.jobs, first.skipped, first.left) == (2, 0, 3)
    second = await operations.retry_failed("films", before=first.before)
    assert (second.jobs, second.left) == (3, 0)
    for job_id in failed:
        await agree(site, job_id, "waiting")
        assert (await site.fields(job_id))["attempt"] == b"2"
    await site.complete(failed[0])
    await agree(site, failed[0], "completed")


async def test_what_fails_again_at_once_is_not_of_this_round(site: Site, operations: Operations) -> None:
    job_id = await fail(site)
    first = await operations.retry_failed("films")
    await site.fail(job_id)
    again = await operations.retry_failed("films", before=first.before)
    assert (again.jobs, again.left) == (0, 0)
    await agree(site, job_id, "failed")


async def test_a_job_that_was_listed_as_failed_and_has_succeeded_since_is_not_run_again(
    site: Site, operations: Operations
) -> None:
    job_id = (await site.queues.submit("films", "encode", {})).job_id
    await site.fail(job_id)
    await site.queues.retry(job_id)
    await site.complete(job_id)
    assert not await operations._retry_one(await site.queues.handle("films"), "films", job_id)
    assert site.behind.lrange("bull:films:wait", 0, -1) == []


async def test_cancelled_jobs_are_not_retried_with_the_failed(site: Site, operations: Operations) -> None:
    assert CANCELLED == OF_THE_WORKER
    cancelled = [await submit(site) for _ in range(2)]
    for job_id in cancelled:
        async with site.taken(job_id) as job:
            await job.moveToFailed(RuntimeError(CANCELLED + "on request"), "token")
        await site.journal.append(JobCancelled(job_id=job_id, queue="films", attempt=1, timestamp=NOW))
    # Of the second the journal holds nothing any more: BullMQ's word is enough.
    site.behind.delete(f"jobcast:{{{cancelled[1]}}}:state")
    failed = await fail(site)
    done = await operations.retry_failed("films", limit=1)
    assert (done.jobs, done.skipped, done.left) == (1, 2, 0)
    await agree(site, failed, "waiting")
    for job_id in cancelled:
        assert await (await site.kept(job_id)).getState() == "failed"


async def test_a_round_of_retries_is_bounded_in_what_it_passes_over_and_goes_on_from_there(
    site: Site, operations: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobcast.shared.operations.MOST_SKIPPED", 2)
    for _ in range(3):
        site.behind.hset(f"bull:films:{await fail(site)}", "failedReason", CANCELLED + "on request")
    failed = await fail(site)
    first = await operations.retry_failed("films", limit=1)
    assert (first.jobs, first.skipped, first.left, first.skip) == (0, 2, 2, 2)
    second = await operations.retry_failed("films", limit=1, before=first.before, skip=first.skip or 0)
    assert (second.jobs, second.skipped, second.left) == (1, 1, 0)
    await agree(site, failed, "waiting")


async def test_a_job_spoilt_by_hand_keeps_no_other_from_being_retried_or_drained(
    site: Site, operations: Operations
) -> None:
    spoilt, failed = await fail(site), await fail(site)
    site.behind.hset(f"bull:films:{spoilt}", "data", "not json")
    done = await operations.retry_failed("films")
    assert (done.jobs, done.skipped) == (1, 1)
    site.behind.rpush("bull:films:wait", spoilt)
    site.behind.zrem("bull:films:failed", spoilt)
    done = await operations.drain("films")
    assert (done.jobs, done.skipped, done.left) == (1, 1, 0)
    await agree(site, failed, "cancelled")


async def test_a_failed_job_without_a_record_is_retried_and_recorded(site: Site, operations: Operations) -> None:
    job_id = await fail(site)
    site.behind.delete(f"jobcast:{{{job_id}}}:state")
    assert (await operations.retry_failed("films")).jobs == 1
    await agree(site, job_id, "waiting")


# Promote.


async def test_a_delayed_job_is_promoted_in_both_records(site: Site, operations: Operations) -> None:
    job_id = await submit(site, delay=60_000)
    await operations.promote(job_id)
    await agree(site, job_id, "waiting")
    with pytest.raises(NotPossible, match="only a delayed job"):
        await operations.promote(job_id)
    await site.complete(job_id)
    await agree(site, job_id, "completed")


async def test_a_job_that_waits_to_be_tried_again_is_promoted(site: Site, operations: Operations) -> None:
    job_id = await submit(site, attempts=2, backoff=60_000)
    await site.fail(job_id, final=False)
    await operations.promote(job_id)
    await agree(site, job_id, "waiting")
    assert (await site.fields(job_id))["attempt"] == b"2"
    await site.complete(job_id)
    await agree(site, job_id, "completed")


async def test_a_promotion_that_only_bullmq_knows_is_told_by_the_next_call(site: Site, operations: Operations) -> None:
    job_id = await submit(site, delay=60_000)
    await (await site.kept(job_id)).promote()
    assert await site.state(job_id) == "delayed"
    await operations.promote(job_id)
    await agree(site, job_id, "waiting")


# Remove.


@pytest.mark.parametrize("opts", [{}, {"delay": 60_000}, {"priority": 3}], ids=["waiting", "delayed", "with priority"])
async def test_a_job_that_waits_is_removed_and_told_as_cancelled(
    site: Site, operations: Operations, opts: dict[str, int]
) -> None:
    job_id = await submit(site, **opts)
    assert await operations.remove(job_id) == [job_id]
    await agree(site, job_id, "cancelled")
    assert json.loads((await site.fields(job_id))["event:job-cancelled"])["reason"] == "removed"


async def test_a_finished_job_is_removed_from_bullmq_and_stays_in_the_history(
    site: Site, operations: Operations
) -> None:
    job_id = await fail(site)
    await operations.remove(job_id)
    assert await site.kept(job_id) is None
    assert (await operations.details(job_id)).state == "failed"
    with pytest.raises(UnknownJob, match="is not kept"):
        await operations.remove(job_id)


async def test_a_job_at_work_is_not_removed_nor_is_a_parent_of_one(site: Site, operations: Operations) -> None:
    parent, child = await _flow(site)
    await site.queues.announce("films", await site.kept(parent))
    async with site.taken(child):
        for job_id in (child, parent):
            with pytest.raises(NotPossible, match=f"job {child} is at work"):
                await operations.remove(job_id, "films")
        assert await site.journal.cancel_requests([parent, child]) == [None, None]
        assert await site.kept(parent) is not None


async def test_a_parent_is_removed_with_its_children_and_all_are_told(site: Site, operations: Operations) -> None:
    parent, child = await _flow(site)
    for job_id in (parent, child):
        await site.queues.announce("films", await site.kept(job_id))
    assert await operations.remove(parent) == [parent, child]
    for job_id in (parent, child):
        await agree(site, job_id, "cancelled")


async def test_the_next_job_of_a_schedule_is_neither_removed_nor_drained(site: Site, operations: Operations) -> None:
    job = await site.queue().upsertJobScheduler("hourly", {"every": 3_600_000}, "tick", {})
    with pytest.raises(NotPossible, match="schedule"):
        await operations.remove(job.id, "films")
    assert (await operations.drain("films", delayed=True)).jobs == 0
    assert await site.kept(job.id) is not None


# Clean.


async def test_system_2_clean_takes_completed_older_than_24_h_and_failed_older_than_7_days(
    site: Site, operations: Operations
) -> None:
    for state, end, age in (("completed", site.complete, 24 * 3600), ("failed", site.fail, 7 * 24 * 3600)):
        old, young = await submit(site), await submit(site)
        await end(old)
        await end(young)
        for job_id, seconds in ((old, age + 60), (young, age - 60)):
            site.behind.zincrby(f"bull:films:{state}", -1000 * seconds, job_id)
        done = await operations.clean("films", state)
        assert (done.jobs, done.left) == (1, 0)
        assert (await site.kept(old), (await site.kept(young)) is not None) == (None, True)
        assert (await site.kept(young)).id == young


async def test_a_clean_is_bounded_and_says_what_is_left(site: Site, operations: Operations) -> None:
    for _ in range(5):
        await fail(site)
    assert (await operations.clean("films", "failed")).jobs == 0
    done = await operations.clean("films", "failed", older_than=0, limit=2)
    assert (done.jobs, done.left) == (2, 3)
    for state, kwargs in (("waiting", {}), ("failed", {"limit": 0}), ("failed", {"older_than": -1.0})):
        with pytest.raises(BadRequest):
            await operations.clean("films", state, **kwargs)
    with pytest.raises(BadRequest):
        await operations.clean("films", "failed", limit=MOST_AT_ONCE + 1)


# Pause and resume, drain.


async def test_system_2_a_queue_is_paused_and_resumed_as_bullmq_does(site: Site, operations: Operations) -> None:
    job_id = await submit(site)
    await operations.pause("films")
    assert await site.queue().isPaused()
    late = await submit(site)
    assert (await site.queues.counts("films"))["waiting"] == 2
    await operations.resume("films")
    assert not await site.queues.paused("films")
    await site.complete(job_id)
    await site.complete(late)


@pytest.mark.parametrize("paused", [False, True])
async def test_a_drain_cancels_what_waits_and_leaves_what_runs(
    site: Site, operations: Operations, *, paused: bool
) -> None:
    running = await submit(site)
    async with site.taken(running):
        waiting = [await submit(site, **opts) for opts in ({}, {}, {"priority": 2})]
        delayed = await submit(site, delay=60_000)
        foreign = (await site.queue().add("encode", {}, {"jobId": "foreign"})).id
        if paused:
            await operations.pause("films")
        first = await operations.drain("films", limit=3)
        second = await operations.drain("films", limit=3)
        assert (first.jobs, first.left, second.jobs, second.left) == (3, 1, 1, 0)
        for job_id in (*waiting, foreign):
            await agree(site, job_id, "cancelled")
        await agree(site, delayed, "delayed")
        assert (await operations.drain("films", delayed=True)).jobs == 1
        await agree(site, delayed, "cancelled")
        await agree(site, running, "active")
        assert await site.journal.cancel_requests([running]) == [None]


async def test_what_began_or_ended_while_a_drain_goes_on_is_left_alone(site: Site, operations: Operations) -> None:
    done = await submit(site)
    await site.complete(done)
    running = await submit(site)
    async with site.taken(running):
        # As in a list read a moment before the two were taken.
        site.behind.rpush("bull:films:wait", done, running)
        found = await operations.drain("films")
        assert (found.jobs, found.skipped) == (0, 2)
        await agree(site, done, "completed")
        assert await site.state(running) == "active"
        assert await site.journal.cancel_requests([done, running]) == [None, None]


async def _flow(site: Site) -> tuple[str, str]:
    flow: Any = FlowProducer({"connection": site.bullmq})
    await flow.add(
        {
            "name": "sum", "queueName": "films", "data": {}, "opts": {"jobId": "parent"},
            "children": [{"name": "part", "queueName": "films", "data": {}, "opts": {"jobId": "child"}}],
        }
    )  # fmt: skip
    return "parent", "child"
