"""Whoever watches a queue is told of its circuit breaker, by every door, and its events go on as they were."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from jobcast.shared.keys import Keys
from jobcast.shared.redis import connect
from jobcast.worker.breaker import Breaker, Guard
from tests.gateway.events import run_job
from tests.gateway.listeners import SseListener, WebSocketListener
from tests.gateway.support import Served, http
from tests.support.waiting import wait_until

QUEUE = "demo"
STREAM = f"/api/v1/queues/{QUEUE}/events"
ERROR = 'job 1: ConnectionError: the "exchange"\r\nis gone é'


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    client = connect(redis_url, name="test-breaker")
    yield client
    await client.aclose()


@pytest.fixture
def guard(client: Redis) -> Guard:
    """A worker's hand on the circuit: it opens at the first failure."""
    return Guard(client, Keys(), QUEUE, Breaker(failures=1, cooldown=0.02), 5.0)


async def through_it_all(guard: Guard) -> None:
    await guard.report("t1", "failure", ERROR)
    await asyncio.sleep(0.05)
    assert (await guard.enter("t2")).probe
    await guard.report("t2", "success")


def quarantined(house: Served) -> float:
    return house.gateway.metrics.registry.get_sample_value("jobcast_quarantined_total") or 0.0


async def test_each_change_is_told_and_is_no_garbage(house: Served, guard: Guard) -> None:
    async with WebSocketListener.to(house.url) as listener, SseListener.to(house.url, STREAM) as stream:
        answer = await listener.call("subscribe-to-queue", {"queueName": QUEUE})
        assert answer["snapshot"]["circuit"] == {"queueName": QUEUE, "state": "closed"}
        await through_it_all(guard)
        await run_job(house.journal, "j", queue=QUEUE)
        for each in (listener, stream):
            await each.until("job-completed")
            told = each.named("queue-circuit")
            assert [payload["state"] for payload in told] == ["open", "half-open", "closed"]
            assert [payload["queueName"] for payload in told] == [QUEUE] * 3
            opened = told[0]
            assert opened["until"] - opened["timestamp"] in (19, 20)
            assert opened["reason"] == f"1 failures in a row; the last: {ERROR}"
            assert "until" not in told[2]
            times = [payload["timestamp"] for payload in told]
            assert times == sorted(set(times))
    assert quarantined(house) == 0


async def test_positions_go_on_over_a_change(house: Served, guard: Guard) -> None:
    """Events before, between and after are told once each, and none of them is read from the record."""
    async with WebSocketListener.to(house.url) as listener:
        await listener.call("subscribe-to-queue", {"queueName": QUEUE})
        await run_job(house.journal, "a", queue=QUEUE)
        await listener.until("job-completed")
        lagged = house.gateway.metrics.registry.get_sample_value("jobcast_readings_total")
        await through_it_all(guard)
        await run_job(house.journal, "b", queue=QUEUE)
        await wait_until(lambda: len(listener.named("job-completed")) == 2)
        assert house.gateway.metrics.registry.get_sample_value("jobcast_readings_total") == lagged
        places = [payload["queuePosition"]["seq"] for _, payload in listener.told if "queuePosition" in payload]
        assert places == list(range(1, len(places) + 1))


async def test_who_comes_while_it_is_open_is_told(house: Served, client: Redis) -> None:
    slow = Guard(client, Keys(), QUEUE, Breaker(failures=1, cooldown=60.0), 5.0)
    await slow.report("t1", "failure", "gone")
    async with WebSocketListener.to(house.url) as listener, SseListener.to(house.url, STREAM) as stream:
        answer = await listener.call("subscribe-to-queue", {"queueName": QUEUE})
        for each in (listener, stream):
            await each.until("queue-circuit")
        circuit = answer["snapshot"]["circuit"]
        assert circuit["state"] == "open"
        async with http(house.url) as door:
            view = (await door.get(f"/api/v1/queues/{QUEUE}")).json()
        assert view["circuit"] == circuit
        assert listener.named("queue-circuit") == [circuit]


async def test_a_change_the_feed_lost_is_told_once_it_is_back(house: Served, guard: Guard, client: Redis) -> None:
    async with WebSocketListener.to(house.url) as listener:
        await listener.call("subscribe-to-queue", {"queueName": QUEUE})
        await guard.report("t1", "failure", "gone")
        await listener.until("queue-circuit")
        # Closed without a word, as if its message had fallen into the loss.
        await client.hset(Keys().queue_circuit(QUEUE), mapping={"state": "closed", "timestamp": 2 * 10**12})
        await client.client_kill_filter(_type="pubsub")

        def told() -> list[Any]:
            return [payload["state"] for payload in listener.named("queue-circuit")]

        await wait_until(lambda: told() == ["open", "closed"])


async def test_another_queue_s_circuit_and_garbage_are_kept_out(house: Served, client: Redis, guard: Guard) -> None:
    channel = Keys().queue_channel(QUEUE)
    async with WebSocketListener.to(house.url) as listener:
        await listener.call("subscribe-to-queue", {"queueName": QUEUE})
        rubbish = [
            b'["queue-circuit",{"queueName":"other","state":"open","timestamp":1}]',
            b'["queue-circuit",{"queueName":"demo","state":"ajar","timestamp":1}]',
            b'["queue-circuit",{"queueName":"demo"',
            b'["queue-circuit",{"queueName":"demo","state":"open","timestamp":1}',
            b'["queue-circuit",{"queueName":"demo","state":"\xff","timestamp":1}]',
        ]
        for each in rubbish:
            await client.publish(channel, each)
        await run_job(house.journal, "j", queue=QUEUE)
        await listener.until("job-completed")
        assert listener.named("queue-circuit") == []
    assert quarantined(house) == len(rubbish)
