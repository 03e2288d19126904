"""Submitting: BullMQ holds the job as asked for, and the journal says so, once."""

import asyncio
import json
from typing import Any

import msgspec
import pytest

from jobcast.shared.definitions import KEEP_COMPLETED, KEEP_FAILED
from jobcast.shared.errors import BadJobId, BadQueueName, BadRequest, JobcastError, PayloadTooLarge
from jobcast.shared.keys import Keys
from jobcast.shared.options import read_options
from tests.shared.bullmq import Site


async def test_a_submitted_job_waits_in_bullmq_and_in_the_journal(site: Site) -> None:
    submitted = await site.queues.submit("films", "encode", {"path": "a.mkv"})
    assert submitted.fresh
    job = await site.kept(submitted.job_id)
    assert (job.name, job.data) == ("encode", {"path": "a.mkv"})
    assert site.behind.lrange("bull:films:wait", 0, -1) == [submitted.job_id]
    fields = await site.fields(submitted.job_id)
    assert fields["state"] == b"waiting"
    told = json.loads(fields["event:job-queued"])
    assert {name: told[name] for name in ("name", "queue", "attempt", "maxAttempts", "timestamp")} == {
        "name": "encode", "queue": "films", "attempt": 1, "maxAttempts": 1, "timestamp": job.timestamp,
    }  # fmt: skip
    assert int(fields["born"]) == job.timestamp


async def test_the_options_reach_bullmq_in_its_own_words(site: Site) -> None:
    given = {
        "jobId": "film-7", "attempts": 4, "backoff": {"type": "exponential", "delay": 250}, "lifo": True,
        "removeOnComplete": {"age": 60, "count": 5}, "removeOnFail": False,
    }  # fmt: skip
    await site.queues.submit("films", "encode", None, read_options(given))
    opts = (await site.kept("film-7")).opts
    assert {name: opts[name] for name in given} == {
        **given,
        "backoff": {"type": "exponential", "delay": 250, "jitter": 0.0},
    }
    assert json.loads((await site.fields("film-7"))["event:job-queued"])["maxAttempts"] == 4


async def test_finished_jobs_are_not_kept_for_ever_unless_asked_for(site: Site) -> None:
    submitted = await site.queues.submit("films", "encode", {})
    opts = (await site.kept(submitted.job_id)).opts
    assert (opts["removeOnComplete"], opts["removeOnFail"]) == tuple(
        msgspec.to_builtins(keep) for keep in (KEEP_COMPLETED, KEEP_FAILED)
    )


async def test_a_delayed_job_is_delayed_in_both_records(site: Site) -> None:
    job_id = (await site.queues.submit("films", "encode", {}, read_options({"delay": 60_000}))).job_id
    assert site.behind.zrange("bull:films:delayed", 0, -1) == [job_id]
    assert await site.state(job_id) == "delayed"
    assert json.loads((await site.fields(job_id))["event:job-queued"])["delay"] == 60_000


async def test_jobs_with_a_priority_stand_in_its_order_and_behind_those_without(site: Site) -> None:
    low = (await site.queues.submit("films", "encode", {}, read_options({"priority": 10}))).job_id
    high = (await site.queues.submit("films", "encode", {}, read_options({"priority": 1}))).job_id
    none = (await site.queues.submit("films", "encode", {})).job_id
    assert json.loads((await site.fields(low))["event:job-queued"])["priority"] == 10
    for expected in (none, high, low):
        async with site.taken(expected):
            pass


async def test_a_doubled_id_stands_for_the_first_job(site: Site) -> None:
    options = read_options({"jobId": "film-7"})
    first = await site.queues.submit("films", "encode", {"n": 1}, options)
    second = await site.queues.submit("films", "encode", {"n": 2}, options)
    assert (first.fresh, second.fresh) == (True, False)
    assert (await site.kept("film-7")).data == {"n": 1}
    assert await site.kinds("film-7") == ["job-queued"]


async def test_of_many_with_one_id_at_one_moment_exactly_one_is_fresh(site: Site) -> None:
    await site.queues.submit("films", "encode", {})
    options = read_options({"jobId": "film-7"})
    answers = await asyncio.gather(*(site.queues.submit("films", "encode", {"n": n}, options) for n in range(20)))
    assert sum(answer.fresh for answer in answers) == 1
    assert await site.kinds("film-7") == ["job-queued"]


async def test_a_deduplicated_job_answers_with_the_id_of_the_one_that_stands(site: Site) -> None:
    options = read_options({"deduplication": {"id": "nightly"}})
    first = await site.queues.submit("films", "encode", {}, options)
    second = await site.queues.submit("films", "encode", {}, options)
    assert second.job_id == first.job_id
    assert (first.fresh, second.fresh) == (True, False)
    assert site.behind.llen("bull:films:wait") == 1
    assert await site.kinds(first.job_id) == ["job-queued"]


async def test_an_id_used_again_after_its_job_is_gone_begins_a_new_life(site: Site) -> None:
    options = read_options({"jobId": "film-7", "removeOnComplete": True})
    await site.queues.submit("films", "encode", {}, options)
    await site.complete("film-7")
    before = (await site.journal.read("film-7")).position
    assert await site.kept("film-7") is None
    assert (await site.queues.submit("films", "encode", {}, options)).fresh
    after = (await site.journal.read("film-7")).position
    assert before is not None
    assert after is not None
    assert (after.epoch != before.epoch, after.seq) == (True, 1)


async def test_the_same_news_told_by_producer_and_worker_is_one_event(site: Site) -> None:
    job_id = (await site.queues.submit("films", "encode", {})).job_id
    await site.queues.announce("films", await site.kept(job_id))
    await site.complete(job_id)
    await site.queues.announce("films", await site.kept(job_id))
    assert await site.kinds(job_id) == ["job-queued", "job-queue-to-start", "job-completed"]


async def test_a_job_of_a_producer_that_knows_no_journal_is_announced_later(site: Site) -> None:
    job = await site.queue().add("encode", {}, {"attempts": 2, "delay": 5})
    await site.queues.announce("films", await site.kept(job.id))
    told = json.loads((await site.fields(job.id))["event:job-queued"])
    assert (told["maxAttempts"], told["delay"]) == (2, 5)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "data",
    [float("nan"), {"a": float("inf")}, b"bytes", {1, 2}, object(), {(1, 2): 3}, nested(100_000), 10**5000],
    ids=["NaN", "infinity", "bytes", "set", "object", "tuple key", "nested", "5000 digits"],
)
async def test_data_that_json_cannot_carry_is_refused_and_nothing_is_queued(site: Site, data: Any) -> None:
    with pytest.raises(BadRequest, match="cannot be written as JSON"):
        await site.queues.submit("films", "encode", data)
    assert list(site.behind.scan_iter()) == []


@pytest.mark.parametrize("queue", ["", "a b", "*", "films:x", "{films}", "../x", "q\r\n", "фильмы", "x" * 65, None])
async def test_a_bad_queue_name_is_refused_before_redis(site: Site, queue: Any) -> None:
    with pytest.raises(BadQueueName):
        await site.queues.submit(queue, "encode", {})
    assert list(site.behind.scan_iter()) == []


@pytest.mark.parametrize("name", ["", "a\nb", "\x00", "x" * 129, 7, None])
async def test_a_bad_job_name_is_refused_before_redis(site: Site, name: Any) -> None:
    with pytest.raises(BadRequest):
        await site.queues.submit("films", name, {})
    assert list(site.behind.scan_iter()) == []


@pytest.mark.parametrize("job_id", ["wait", "meta", "id", "1", "007", "a:b", "completed"])
async def test_an_id_that_bullmq_uses_itself_is_refused(job_id: str) -> None:
    with pytest.raises(BadJobId, match="BullMQ"):
        read_options({"jobId": job_id})


async def test_a_refusal_of_the_journal_never_loses_a_queued_job(site: Site) -> None:
    """A name too long for the journal's event is refused before BullMQ holds the job; both have it or neither."""
    with pytest.raises(JobcastError) as caught:
        await site.queues.submit("films", "x" * 200, {})
    assert not isinstance(caught.value, PayloadTooLarge)
    assert list(site.behind.scan_iter()) == []


async def test_more_queues_than_handles_are_kept_all_work(site: Site) -> None:
    for number in range(70):
        await site.queues.submit(f"q{number}", "encode", {})
    await site.queues.submit("q0", "encode", {})
    assert (await site.queues.counts("q0"))["waiting"] == 2


async def test_an_id_at_work_in_another_queue_is_refused_and_the_job_keeps_its_record(site: Site) -> None:
    await site.queues.submit("films", "encode", {}, read_options({"jobId": "shared-id"}))
    before = await site.journal.read("shared-id")
    with pytest.raises(BadJobId, match="is at work in queue films"):
        await site.queues.submit("songs", "encode", {}, read_options({"jobId": "shared-id"}))
    assert await site.journal.read("shared-id") == before
    assert (await site.queues.counts("songs"))["waiting"] == 0


async def test_a_job_delayed_for_longer_than_a_record_lives_is_not_forgotten(site: Site) -> None:
    week = 7 * 24 * 3600 * 1000
    submitted = await site.queues.submit("films", "encode", {}, read_options({"delay": week}))
    assert site.behind.pttl(Keys().state(submitted.job_id)) > week
