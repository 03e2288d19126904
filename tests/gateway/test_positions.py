"""Events that the feed loses without a word: they are found in the record, within two seconds and without traffic."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from jobcast.gateway.heard import LIVES, MOST, Heard
from jobcast.gateway.positions import CHECK_EVERY, SETTLED
from jobcast.gateway.wire import Message
from jobcast.shared.journal import RedisJournal
from jobcast.shared.keys import Keys
from jobcast.shared.position import Position
from jobcast.shared.redis import connect
from tests.gateway.events import completed, logged, progressed, queued, run_job, started
from tests.gateway.listeners import SseListener, WebSocketListener
from tests.gateway.support import Core, Served
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

FOUND_WITHIN = 2.0
SOME_ROUNDS = SETTLED / 1000 + (LIVES + 3) * CHECK_EVERY


class Elsewhere(Keys):
    """Records where ours are, and channels that nobody follows: what is published is lost on its way."""

    def channel(self, job_id: str) -> str:
        return f"elsewhere:{job_id}"

    def queue_channel(self, queue: str) -> str:
        return f"elsewhere:queue:{queue}"


@pytest.fixture
async def unheard(redis_server: RedisServer) -> AsyncIterator[RedisJournal]:
    """Appends what no feed brings."""
    client = connect(redis_server.url, name="test-unheard")
    yield RedisJournal(client, Elsewhere())
    await client.aclose()


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
    async with SseListener.to(house.url, "/api/v1/jobs/awaited/events") as client:
        await wait_until(lambda: client.named("job-snapshot"), 5, "the empty snapshot")
        await unheard.append(queued("awaited"))
        await wait_until(lambda: client.named("job-queued"), FOUND_WITHIN, "the first event")
        assert [each["state"] for each in client.named("job-snapshot")] == ["unknown", "waiting"]


async def test_a_queue_is_told_of_jobs_that_came_and_went_unheard(house: Served, unheard: RedisJournal) -> None:
    async with WebSocketListener.to(house.url) as client:
        await client.call("subscribe-to-queue", {"queueName": "demo"})
        await client.call("subscribe-to-job", {"jobId": "watched-both-ways"})
        await run_job(house.journal, "known", steps=0, finish=False)
        await client.until_seq(2)
        await unheard.append(completed("known"))
        for job_id in ("whole", "watched-both-ways"):
            await run_job(unheard, job_id, steps=0)
        lost = time.monotonic()
        await wait_until(lambda: len(client.named("job-completed")) == 3, 5, "all ends")
        assert time.monotonic() - lost <= FOUND_WITHIN
        await asyncio.sleep(SOME_ROUNDS)
        ended = sorted(each["jobId"] for each in client.named("job-completed"))
        assert ended == ["known", "watched-both-ways", "whole"]


async def test_a_queue_is_told_of_jobs_that_came_and_went_while_the_feed_was_away(
    house: Served, unheard: RedisJournal, redis_server: RedisServer
) -> None:
    async with WebSocketListener.to(house.url) as client:
        await client.call("subscribe-to-queue", {"queueName": "demo"})
        await asyncio.sleep(2 * CHECK_EVERY)
        with redis_server.client() as redis:
            redis.client_kill_filter(_type="pubsub")
        await run_job(unheard, "brief", steps=2)
        await client.until("job-completed")
        assert len(client.named("job-completed")) == 1


async def test_what_was_heard_is_not_told_again(house: Served) -> None:
    async with WebSocketListener.to(house.url) as client:
        await client.call("subscribe-to-queue", {"queueName": "demo"})
        await client.call("subscribe-to-job", {"jobId": "watched-both-ways"})
        for job_id in ("ended", "watched-both-ways"):
            await run_job(house.journal, job_id)
        for event in (queued("live"), started("live"), progressed("live", 10)):
            await house.journal.append(event)
        await asyncio.sleep(SOME_ROUNDS)
        assert len(client.named("job-snapshot")) == 1
        assert len(client.named("job-completed")) == 2
    assert gaps(house) == 0


async def test_what_was_heard_is_not_remembered_for_ever(parts: Core) -> None:
    await parts.client().watch_queue("demo")
    end = (await run_job(parts.journal, "ended"))[-1].position
    await wait_until(lambda: parts.count("jobcast_messages_sent_total") == 6, 5, "its events")
    assert parts.hub.verify("demo", "ended", end)
    forgotten = 2 * LIVES * CHECK_EVERY + 3
    await wait_until(lambda: not parts.hub.verify("demo", "ended", end), forgotten, "it to be forgotten")


def _message(job_id: str, seq: int) -> Message:
    return Message("job-log", b"", job_id, Position("e", seq))


def test_what_was_heard_is_remembered_for_some_rounds_and_then_forgotten() -> None:
    heard = Heard()
    heard.add([_message("j", 1), _message("j", 2)])
    assert heard.last("j") == Position("e", 2)
    for _ in range(LIVES):
        assert heard.last("j") is not None
        heard.age()
    assert heard.last("j") == Position("e", 2)
    for _ in range(LIVES):
        heard.age()
    assert heard.last("j") is None


def test_a_crowd_of_jobs_is_remembered_up_to_a_bound() -> None:
    heard = Heard()
    for number in range(3 * MOST):
        heard.add([_message(f"j{number}", 1)])
    assert heard.last("j0") is None
    assert heard.last(f"j{3 * MOST - 1}") == Position("e", 1)
    assert len(heard) <= 2 * MOST
