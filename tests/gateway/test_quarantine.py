"""Bytes that are no event on a channel: kept out of every door, counted, and the next event is told."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.gateway.events import progressed, queued, started
from tests.gateway.listeners import Listener, SocketIoListener, SseListener, WebSocketListener
from tests.gateway.rubbish import rubbish
from tests.gateway.support import Served, http

JOB, QUEUE = "j", "demo"
CHANNELS = {"a job's channel": "jobcast:{j}", "a queue's channel": "jobcast:queue:{demo}"}


async def quarantined(house: Served) -> float:
    async with http(house.url) as client:
        text = (await client.get("/metrics")).text
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith("jobcast_quarantined_total"))


@contextlib.asynccontextmanager
async def everywhere(house: Served) -> AsyncIterator[list[Listener]]:
    """Who watches the job and who watches its queue, by every door; both channels are followed once for all."""
    async with (
        WebSocketListener.to(house.url) as plain,
        SocketIoListener.to(house.url) as socket,
        WebSocketListener.to(house.url) as plain_queue,
        SocketIoListener.to(house.url) as socket_queue,
        SseListener.to(house.url, f"/api/v1/jobs/{JOB}/events") as stream,
        SseListener.to(house.url, f"/api/v1/queues/{QUEUE}/events") as stream_queue,
    ):
        for watcher in (plain, socket):
            assert (await watcher.call("subscribe-to-job", JOB))["ok"]
        for watcher in (plain_queue, socket_queue):
            assert (await watcher.call("subscribe-to-queue", {"queueName": QUEUE}))["ok"]
        listeners = [plain, socket, plain_queue, socket_queue, stream, stream_queue]
        for listener in listeners:
            await listener.until("job-snapshot")
        yield listeners


@pytest.mark.parametrize("channel", CHANNELS.values(), ids=CHANNELS)
async def test_rubbish_reaches_nobody_is_counted_and_the_next_event_is_told(house: Served, channel: str) -> None:
    await house.journal.append(queued(JOB))
    await house.journal.append(started(JOB))
    redis = house.journal._client
    async with everywhere(house) as listeners:
        for number, (name, wire) in enumerate(rubbish(JOB).items(), start=1):
            await redis.publish(channel, wire)
            appended = await house.journal.append(progressed(JOB, number))
            for listener in listeners:
                await listener.until_seq(appended.position.seq)
                assert not listener.ended, name
            assert await quarantined(house) == number, name
        for listener in listeners:
            told = listener.applied
            assert told == list(range(told[0], appended.position.seq + 1))
            assert len(str(listener.told)) < 10**5


async def test_rubbish_in_the_midst_of_events_of_one_read_costs_none_of_them(house: Served) -> None:
    redis, channel = house.journal._client, CHANNELS["a job's channel"]
    await house.journal.append(queued(JOB))
    await house.journal.append(started(JOB))
    async with everywhere(house) as listeners:
        wires = [each for each in rubbish(JOB).values() if len(each) < 1000] * 20
        appends = [house.journal.append(progressed(JOB, number)) for number in range(len(wires))]
        await asyncio.gather(*appends, *(redis.publish(channel, wire) for wire in wires))
        for listener in listeners:
            await listener.until_seq(len(wires) + 2)
            told = listener.applied
            assert told == list(range(told[0], len(wires) + 3))
        assert await quarantined(house) == len(wires)
