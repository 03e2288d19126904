"""Submitting many at once: all of them or none, in order, each told of once."""

import json

import pytest

from jobcast.shared.bulk import MOST_AT_ONCE, NewJob
from jobcast.shared.errors import BadJobId, BadRequest, JobcastError
from jobcast.shared.options import JobOptions, read_options
from tests.shared.bullmq import Site


async def test_many_jobs_wait_in_their_order_and_each_is_told_of(site: Site) -> None:
    jobs = [NewJob("encode", {"n": n}) for n in range(MOST_AT_ONCE)]
    ids = [each.job_id for each in await site.queues.submit_many("films", jobs)]
    assert len(set(ids)) == MOST_AT_ONCE
    assert site.behind.lrange("bull:films:wait", 0, -1) == ids[::-1]
    for n in (0, 499, 999):
        assert (await site.kept(ids[n])).data == {"n": n}
        fields = await site.fields(ids[n])
        assert fields["state"] == b"waiting"
        assert json.loads(fields["event:job-queued"])["name"] == "encode"
    assert len(await site.journal.read_many(ids)) == MOST_AT_ONCE
    assert all(reading.position is not None for reading in await site.journal.read_many(ids))


async def test_one_job_s_options_are_its_own(site: Site) -> None:
    later = NewJob("encode", {}, read_options({"delay": 60_000, "attempts": 3}))
    first, second = await site.queues.submit_many("films", [later, NewJob("encode", {})])
    assert site.behind.zcard("bull:films:delayed") == 1
    assert (await site.kept(first.job_id)).opts["attempts"] == 3
    # No worker has told of its queue yet: how often to try is its to say, then.
    assert (await site.kept(second.job_id)).opts["attempts"] == 0
    assert json.loads((await site.fields(first.job_id))["event:job-queued"])["delay"] == 60_000


async def test_a_job_that_is_there_already_stands_for_the_new_one(site: Site) -> None:
    named, deduplicated = JobOptions(job_id="film-7"), read_options({"deduplication": {"id": "once"}})
    (first,) = await site.queues.submit_many("films", [NewJob("encode", 1, named)])
    found = await site.queues.submit_many(
        "films", [NewJob("encode", 2, named), NewJob("encode", 3, deduplicated), NewJob("encode", 4, deduplicated)]
    )
    assert [first.fresh, *(each.fresh for each in found)] == [True, False, True, False]
    assert found[0].job_id == "film-7"
    assert found[1].job_id == found[2].job_id
    assert (await site.kept("film-7")).data == 1
    assert site.behind.llen("bull:films:wait") == 2


BAD = {
    "no job": [],
    "one too many": [NewJob("encode")] * (MOST_AT_ONCE + 1),
    "a name of nothing": [NewJob("encode"), NewJob("")],
    "data that is no JSON": [NewJob("encode"), NewJob("encode", {1, 2})],
    "a number that is none": [NewJob("encode"), NewJob("encode", float("nan"))],
}


@pytest.mark.parametrize("bad", BAD)
async def test_one_bad_job_leaves_none_queued(site: Site, bad: str) -> None:
    with pytest.raises(BadRequest):
        await site.queues.submit_many("films", BAD[bad])
    assert not site.behind.keys("bull:films:wait")
    assert not site.behind.keys("jobcast:*")


async def test_an_id_that_runs_in_another_queue_is_refused_for_all(site: Site) -> None:
    await site.queues.submit("other", "encode", {}, JobOptions(job_id="film-7"))
    with pytest.raises(BadJobId):
        await site.queues.submit_many("films", [NewJob("encode"), NewJob("encode", 1, JobOptions(job_id="film-7"))])
    assert not site.behind.keys("bull:films:wait")


async def test_nothing_is_queued_where_redis_refuses_the_writes(site: Site) -> None:
    site.behind.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(JobcastError) as told:
            await site.queues.submit_many("films", [NewJob("encode", {"n": n}) for n in range(20)])
    finally:
        site.behind.config_set("maxmemory", "0")
    assert told.value.retryable
    assert not site.behind.keys("bull:films:wait")
