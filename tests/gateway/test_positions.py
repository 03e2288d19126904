"""Events that the feed loses without a word: they are found in the record, within two seconds and without traffic."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from jobcast.gateway.positions import CHECK_EVERY
from jobcast.shared.journal import RedisJournal
from jobcast.shared.keys import Keys
from jobcast.shared.redis import connect
from tests.gateway.events import completed, logged, progressed, queued, run_job, started
from tests.gateway.listeners import SseListener, WebSocketListener
from tests.gateway.support import Served
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

FOUND_WITHIN = 2.0
SOME_ROUNDS = 3 * CHECK_EVERY


class Elsewhere(Keys):
    """Records where ours are, and channels that nobody follows: what is published is lost on its way."""

    def channel(self, job_id: str) -> str:
        return f"elsewhere:{job_id}"

    def queue_channel(self, queue: str) -> str:
        return f"elsewhere:queue:{queue}"


@pytest.fixture
async def client(redis_server: RedisServer) -> AsyncIterator[Redis]:
    client = connect(redis_server.url, name="test-unheard")
    yield client
    await client.aclose()


@pytest.fixture
def unheard(client: Redis) -> RedisJournal:
    """Appends what no feed brings."""
    return RedisJournal(client, Elsewhere())


def gaps(house: Served) -> float:
    return house.gateway.metrics.registry.get_sample_value("jobcast_silent_gaps_total") or 0.0


async def test_the_last_event_of_a_job_is_told_although_the_feed_lost_it(house: Served, unheard: RedisJournal) -> None:
    await run_job(house.journal, "j", steps=0, finish=False)
    async with WebSocketListener.to(house.url) as one, WebSocketListener.to(house.url) as other:
        for each in (one, other):
            await each.call("subscribe-to-job", {"jobId": "j"})
        await house.journal.append(logged("j", "heard, so both are in step"))
        await unheard.append(completed("j"))
        lost = time.monotonic()
        for each in (one, other):
            await each.until("job-completed")
            assert time.monotonic() - lost <= FOUND_WITHIN
        await asyncio.sleep(SOME_ROUNDS)
        for each in (one, other):
            assert each.seqs[-2:] == [3, 4]
            assert len(each.named("job-completed")) == len(each.named("job-snapshot")) == 1
    assert gaps(house) == 1


async def test_a_job_that_begins_unheard_is_told_to_who_waits_for_it(house: Served, unheard: RedisJournal) -> None:
    async with SseListener.to(house.url, "/api/v1/jobs/awaited/events") as reader:
        await wait_until(lambda: reader.named("job-snapshot"), 5, "the empty snapshot")
        await unheard.append(queued("awaited"))
        await wait_until(lambda: reader.named("job-queued"), FOUND_WITHIN, "the first event")
        assert [each["state"] for each in reader.named("job-snapshot")] == ["unknown", "waiting"]


async def test_a_job_that_goes_on_without_a_rest_is_looked_at_too(house: Served, unheard: RedisJournal) -> None:
    """Every event is newer than the last look, and none of them comes."""
    await run_job(house.journal, "busy", steps=0, finish=False)
    async with WebSocketListener.to(house.url) as listener:
        await listener.call("subscribe-to-job", {"jobId": "busy"})
        begin = time.monotonic()
        while not listener.named("job-progress"):
            await unheard.append(progressed("busy", 50))
            await asyncio.sleep(0.02)
            assert time.monotonic() - begin <= FOUND_WITHIN


async def test_a_queue_is_told_of_jobs_that_came_and_went_unheard(house: Served, unheard: RedisJournal) -> None:
    async with WebSocketListener.to(house.url) as listener:
        await listener.call("subscribe-to-queue", {"queueName": "demo"})
        await listener.call("subscribe-to-job", {"jobId": "watched-both-ways"})
        await run_job(house.journal, "known", steps=0, finish=False)
        await listener.until_seq(2)
        await unheard.append(completed("known"))
        for job_id in ("whole", "watched-both-ways"):
            await run_job(unheard, job_id, steps=0)
        lost = time.monotonic()
        await wait_until(lambda: len(listener.named("job-completed")) == 3, 5, "all ends")
        assert time.monotonic() - lost <= FOUND_WITHIN
        await asyncio.sleep(SOME_ROUNDS)
        ended = sorted(each["jobId"] for each in listener.named("job-completed"))
        assert ended == ["known", "watched-both-ways", "whole"]
        whole = [payload["seq"] for name, payload in listener.told if payload.get("jobId") == "whole"]
        assert whole == [1, 2, 3]


async def test_a_queue_is_told_of_jobs_that_came_and_went_while_the_feed_was_away(
    house: Served, unheard: RedisJournal, redis_server: RedisServer
) -> None:
    async with WebSocketListener.to(house.url) as listener:
        await listener.call("subscribe-to-queue", {"queueName": "demo"})
        await house.journal.append(queued("known"))
        await listener.until_seq(1)
        with redis_server.client() as redis:
            redis.client_kill_filter(_type="pubsub")
        await run_job(unheard, "brief", steps=2)
        await listener.until("job-completed")
        told = [payload["seq"] for _, payload in listener.told if payload.get("jobId") == "brief"]
        assert told == [1, 2, 3, 4, 5]


async def test_who_begins_to_watch_a_queue_is_not_told_what_was_over_before(
    house: Served, unheard: RedisJournal
) -> None:
    await run_job(unheard, "before", steps=0)
    async with WebSocketListener.to(house.url) as listener:
        await listener.call("subscribe-to-queue", {"queueName": "demo"})
        await asyncio.sleep(SOME_ROUNDS)
        assert not listener.named("job-completed")
    assert gaps(house) == 0


async def test_what_was_heard_is_not_told_again(house: Served) -> None:
    async with WebSocketListener.to(house.url) as listener:
        await listener.call("subscribe-to-queue", {"queueName": "demo"})
        await listener.call("subscribe-to-job", {"jobId": "watched-both-ways"})
        begin = time.monotonic()
        number = 0
        while time.monotonic() - begin < SOME_ROUNDS:
            number += 1
            await run_job(house.journal, f"ended-{number}", steps=1)
            await asyncio.sleep(0.01)
        await run_job(house.journal, "watched-both-ways")
        for event in (queued("live"), started("live"), progressed("live", 10)):
            await house.journal.append(event)
        await asyncio.sleep(SOME_ROUNDS)
        assert len(listener.named("job-snapshot")) == 1
        assert len(listener.named("job-completed")) == number + 1
    assert gaps(house) == 0


async def test_a_record_that_cannot_be_read_does_not_end_the_looking_at_others(
    house: Served, unheard: RedisJournal, client: Redis
) -> None:
    await run_job(house.journal, "j", steps=0, finish=False)
    async with WebSocketListener.to(house.url) as listener:
        await listener.call("subscribe-to-job", {"jobId": "j"})
        await run_job(house.journal, "spoilt", steps=0, queue="other", finish=False)
        await client.delete(Keys().queue_index("other"))
        await client.set(Keys().queue_index("other"), "no list")
        await client.hincrby(Keys().queue_state("other"), "seq", 1)
        await asyncio.sleep(SOME_ROUNDS)
        await unheard.append(completed("j"))
        await wait_until(lambda: listener.named("job-completed"), FOUND_WITHIN, "the end")
