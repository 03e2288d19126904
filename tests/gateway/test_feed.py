"""The feed through every way Redis has of failing it: whoever watches is told everything once."""

import asyncio
import time

import pytest
from redis import Redis

from jobcast.gateway.feed import MOST_UNANSWERED, PROBE_EVERY, Feed
from jobcast.gateway.subscriber import Batch
from jobcast.gateway.wire import parse
from jobcast.shared.errors import Unavailable
from tests.conftest import StartRedis
from tests.gateway.events import completed, logged, progressed, queued, started
from tests.gateway.seam import Ledger
from tests.gateway.support import Core, PulledClient, core
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

JOB = "j"


class Reader:
    """Takes whatever a client is owed, as a door would, and holds it to the promise."""

    def __init__(self, client: PulledClient) -> None:
        self.client = client
        self.ledger = Ledger()
        self.seqs: list[int] = []
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while messages := await self.client.next_messages():
            for wire in messages:
                self.ledger.hear(wire)
                if (message := parse(wire)) is not None and message.position is not None:
                    self.seqs.append(message.position.seq)

    @property
    def last(self) -> int:
        return self.ledger.position.seq if self.ledger.position else 0

    async def reaches(self, seq: int, timeout: float = 8.0) -> None:
        await wait_until(lambda: self.last >= seq or self.task.done(), timeout, f"event {seq}; at {self.last}")
        if self.task.done():
            await self.task

    async def close(self) -> None:
        self.client.close("gone")
        await self.task


async def watching(parts: Core, job_id: str = JOB) -> Reader:
    client = parts.client()
    reader = Reader(client)
    await client.watch_job(job_id)
    return reader


async def test_a_subscriber_connection_killed_again_and_again_loses_nothing_and_repeats_nothing(
    redis_server: RedisServer, parts: Core
) -> None:
    await parts.journal.append(queued(JOB))
    await parts.journal.append(started(JOB))
    readers = [await watching(parts) for _ in range(3)]
    with redis_server.client() as redis:
        for number in range(400):
            await parts.journal.append(logged(JOB, f"line {number}"))
            if number % 40 == 20:
                redis.client_kill_filter(_type="pubsub")
            await asyncio.sleep(0.004)
    await parts.journal.append(completed(JOB))
    for reader in readers:
        await reader.reaches(403)
        assert reader.seqs == list(range(2, 404))
        assert reader.ledger.over
        await reader.close()
    assert parts.feed.losses >= 3


async def test_the_end_of_a_job_in_a_moment_without_a_feed_is_told_without_new_traffic(
    redis_server: RedisServer, parts: Core
) -> None:
    reader, late = await watching(parts), await watching(parts, "nobody-knew-it")
    with redis_server.client() as redis:
        redis.client_kill_filter(_type="pubsub")
    for job in (JOB, "nobody-knew-it"):
        for event in (queued(job), started(job), completed(job)):
            await parts.journal.append(event)
    for each in (reader, late):
        await each.reaches(3, 3)
        assert each.ledger.over
        assert each.seqs[-1:] == [3]
        await each.close()


async def test_a_hung_redis_is_noticed_and_nothing_is_lost_when_it_goes_on(start_redis: StartRedis) -> None:
    server = start_redis()
    async with core(server.url) as parts:
        await parts.journal.append(queued(JOB))
        reader = await watching(parts)
        server.pause()
        hung = asyncio.get_running_loop().time()
        await wait_until(lambda: parts.feed.status == "stale", 4, "the feed to be stale")
        assert asyncio.get_running_loop().time() - hung <= 3
        server.resume()
        await parts.journal.append(started(JOB))
        await parts.journal.append(completed(JOB))
        await wait_until(lambda: parts.feed.status == "alive", 5, "the feed")
        await reader.reaches(3)
        assert reader.seqs == [1, 2, 3]
        await reader.close()


async def test_a_gateway_that_stood_still_does_not_blame_redis(parts: Core) -> None:
    losses = parts.feed.losses
    for _ in range(3):
        time.sleep(MOST_UNANSWERED * PROBE_EVERY + 0.5)  # noqa: ASYNC251  the loop stands still, as when it is stopped
        await asyncio.sleep(0.1)
    await asyncio.sleep((MOST_UNANSWERED + 2) * PROBE_EVERY)
    assert (parts.feed.losses, parts.feed.status) == (losses, "alive")


async def test_a_feed_that_is_far_behind_but_flows_is_no_lost_one(redis_server: RedisServer, parts: Core) -> None:
    read = 0

    def deliver(batch: Batch) -> None:
        nonlocal read
        read += sum(map(len, batch.values()))
        time.sleep(0.04)  # as long as it takes to hand much on to many

    feed = Feed(parts.redis, deliver=deliver, lost=lambda: None, found=lambda: None)
    running = asyncio.create_task(feed.run())
    try:
        await wait_until(lambda: feed.status == "alive", 5, "the feed")
        await feed.follow(b"busy")
        losses = feed.losses
        with redis_server.client() as redis:
            for _ in range(100):
                await asyncio.to_thread(_publish, redis, 60, 1000)
        await wait_until(lambda: read == 6000, 15, "everything published")
        assert (feed.losses, feed.status) == (losses, "alive")
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _publish(redis: Redis, number: int, size: int) -> None:
    with redis.pipeline(transaction=False) as pipe:
        for _ in range(number):
            pipe.publish("busy", b"x" * size)
        pipe.execute()


async def test_an_overflow_of_the_servers_output_buffer_is_found_and_read(start_redis: StartRedis) -> None:
    server = start_redis(config={"client-output-buffer-limit": "pubsub 64kb 64kb 1"})
    async with core(server.url) as parts:
        await parts.journal.append(queued(JOB))
        await parts.journal.append(started(JOB))
        reader = await watching(parts)
        reader.ledger.progress = set()
        losses = parts.feed.losses
        with server.client() as redis:
            # The loop stands still meanwhile: this process is a gateway that was stopped.
            for _ in range(200):
                redis.publish(parts.keys.channel(JOB), b"x" * 70_000)
        await wait_until(lambda: parts.feed.losses > losses, 5, "the loss")
        for number in range(20):
            await parts.journal.append(logged(JOB, f"{number}"))
        await parts.journal.append(completed(JOB))
        await reader.reaches(23)
        assert reader.seqs == list(range(2, 24))
        await reader.close()


async def test_a_redis_that_comes_back_empty_is_told_by_a_snapshot_of_the_new_life(start_redis: StartRedis) -> None:
    server = start_redis()
    async with core(server.url) as parts:
        for event in (queued(JOB), started(JOB), *(progressed(JOB, n) for n in range(5))):
            await parts.journal.append(event)
        reader = await watching(parts)
        await reader.reaches(7)
        server.kill()
        server.start()
        await wait_until(lambda: parts.feed.status == "alive", 5, "the feed")
        await wait_until(lambda: reader.ledger.position is None, 2, "the reset")
        await parts.journal.append(queued(JOB))
        await parts.journal.append(started(JOB))
        await reader.reaches(2)
        assert reader.ledger.position == (await parts.journal.read(JOB)).position
        await reader.close()


async def test_a_feed_that_cannot_connect_at_all_keeps_trying_and_joins_wait_for_it(start_redis: StartRedis) -> None:
    server = start_redis()
    server.stop()
    async with core(server.url, running=False) as parts:
        running = asyncio.create_task(parts.feed.run())
        with pytest.raises(Unavailable):
            await parts.client().watch_job(JOB)
        assert len(parts.hub) == 0
        server.start()
        reader = await watching(parts)
        await parts.journal.append(queued(JOB))
        await reader.reaches(1)
        await reader.close()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
