"""The watch over the workers, on a real Redis: many jobs, several tellers, a Redis that takes no writes."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from jobcast.shared.errors import Unavailable
from jobcast.shared.events import JobProgress, JobQueued, JobStarted
from jobcast.shared.heartbeats import BEAT, Heartbeats
from jobcast.shared.journal import RedisJournal
from jobcast.shared.keys import Keys
from jobcast.shared.redis import connect
from jobcast.shared.vigil import PAGE, Timing, Vigil

AT_ONCE = Timing(silent=1)


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    client = connect(redis_url, name="test")
    yield client
    await client.aclose()


def vigil_of(client: Redis) -> Vigil:
    return Vigil(Heartbeats(client, Keys()), RedisJournal(client), AT_ONCE)


async def beat(client: Redis, worker: str, count: int, queues: str = "work") -> None:
    await client.eval(BEAT, 1, Keys().workers(), worker, str(count), queues, "60000")


async def begin(client: Redis, job_id: str, worker: str | None) -> None:
    """A job that is queued and, with a worker, begun."""
    journal = RedisJournal(client)
    common: dict[str, Any] = {"job_id": job_id, "queue": "work", "attempt": 1, "timestamp": 1}
    await journal.append(JobQueued(**common, name="go", max_attempts=1))
    if worker is not None:
        await journal.append(JobStarted(**common, queue_to_start_time=0, worker=worker))


async def states(client: Redis, job_ids: list[str]) -> list[str]:
    readings = await RedisJournal(client).read_many(job_ids)
    return [reading.fields["state"].decode() for reading in readings]


async def test_of_more_live_jobs_than_a_page_those_of_the_dead_worker_are_told_and_no_others(client: Redis) -> None:
    jobs = [f"job-{number}" for number in range(2 * PAGE + 30)]
    owners = ["w:1:dead", "w:2:lives", None]
    for start in range(0, len(jobs), 50):
        batch = jobs[start : start + 50]
        await asyncio.gather(*(begin(client, job, owners[int(job[4:]) % 3]) for job in batch))
    vigil = vigil_of(client)
    await beat(client, "w:1:dead", 1)
    for count in range(2):
        await beat(client, "w:2:lives", count)
        await vigil.look()
    assert vigil.told == len(jobs[::3])
    expected = ["stalled", "active", "waiting"]
    assert await states(client, jobs) == [expected[int(job[4:]) % 3] for job in jobs]
    assert list((await Heartbeats(client, Keys()).look()).beats) == ["w:2:lives"]


async def test_a_worker_that_is_heard_of_again_before_all_is_told_keeps_its_jobs(client: Redis) -> None:
    await begin(client, "job", "w")
    await beat(client, "w", 1)
    heartbeats = Heartbeats(client, Keys())
    before = (await heartbeats.look()).beats["w"]
    assert await heartbeats.held("w", before, ["job"]) == [("job", 1)]
    await beat(client, "w", 2)
    assert await heartbeats.held("w", before, ["job"]) is None
    await heartbeats.forget("w", before, 0)
    assert list((await heartbeats.look()).beats) == ["w"]


async def test_an_attempt_that_stalls_a_second_time_is_told_a_second_time(client: Redis) -> None:
    await begin(client, "job", "w")
    tellers = [vigil_of(client) for _ in range(2)]
    for count in (1, 2):
        await beat(client, "w", count)
        for _ in range(2):
            await asyncio.gather(*(each.look() for each in tellers))
        assert await states(client, ["job"]) == ["stalled"]
        progress = JobProgress(job_id="job", queue="work", attempt=1, timestamp=1, progress=count)
        await RedisJournal(client).append(progress)
    assert sum(each.told for each in tellers) == 2


async def test_a_redis_that_takes_no_heartbeats_is_not_looked_at_either(client: Redis) -> None:
    """It answers every read: whoever only read would find that nobody was heard of."""
    await beat(client, "w", 1)
    await client.config_set("min-replicas-to-write", 1)
    try:
        with pytest.raises(Unavailable):
            await Heartbeats(client, Keys()).look()
    finally:
        await client.config_set("min-replicas-to-write", 0)
