"""What ends the feed, and what does not: it goes on after a mistake of our own, and stops when it is told to."""

import asyncio
from collections.abc import Callable

from redis.asyncio import Connection, ConnectionPool, Redis
from structlog.testing import capture_logs

from jobcast.gateway.feed import Feed
from jobcast.gateway.subscriber import Batch, FeedLost
from tests.conftest import StartRedis
from tests.gateway.events import queued
from tests.gateway.listeners import WebSocketListener
from tests.gateway.support import Served, core, http
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until


def feed_of(
    redis: Redis,
    *,
    deliver: Callable[[Batch], None] = lambda _: None,
    lost: Callable[[], None] = lambda: None,
    found: Callable[[], None] = lambda: None,
) -> Feed:
    return Feed(redis, deliver=deliver, lost=lost, found=found)


async def ended(running: "asyncio.Task[None]") -> None:
    """It is cancelled, and soon: a feed that goes on keeps its gateway from ending."""
    await wait_until(running.done, 3, "the end of the feed")
    assert running.cancelled()


async def test_a_mistake_of_ours_in_the_feeds_task_costs_one_connection_and_not_the_gateway(
    redis_server: RedisServer, house: Served
) -> None:
    feed, told = house.gateway.feed, 0

    def lost() -> None:
        nonlocal told
        told += 1
        raise LookupError("a mistake within the feed")

    feed._lost = lost
    async with WebSocketListener.to(house.url) as watcher:
        assert (await watcher.call("subscribe-to-job", "j"))["ok"]
        with redis_server.client() as redis, capture_logs() as logged:
            redis.client_kill_filter(_type="pubsub")
            await wait_until(lambda: told and feed.status == "alive", 5, "a feed again")
        assert feed.failures == 1
        (failure,) = [entry for entry in logged if entry["log_level"] == "error"]
        assert isinstance(failure["exc_info"], Exception)
        await house.journal.append(queued("j"))
        await watcher.until_seq(1)
        async with http(house.url) as client:
            assert (await client.get("/readyz")).status_code == 200
            assert "jobcast_feed_failures 1.0" in (await client.get("/metrics")).text


async def test_a_feed_told_to_end_in_the_moment_it_is_lost_ends(start_redis: StartRedis) -> None:
    server = start_redis()

    def deliver(_batch: Batch) -> None:
        server.kill()
        # In the same turn: of a group of tasks one of which fails, the failure is told and the cancellation is not.
        asyncio.get_running_loop().call_soon(feed.stop)
        raise FeedLost("in this very moment")

    async with core(server.url, running=False) as parts:
        feed = feed_of(parts.redis, deliver=deliver)
        running = asyncio.create_task(feed.run())
        await wait_until(lambda: feed.status == "alive", 5, "the feed")
        await feed.follow(b"channel")
        with server.client() as redis:
            await asyncio.to_thread(redis.publish, b"channel", b"x")
        await ended(running)


class Deaf(Connection):
    """Goes on when it is cancelled within its connecting, as redis-py does now and then."""

    async def connect(self) -> None:
        await super().connect()  # type: ignore[no-untyped-call]
        try:
            await asyncio.sleep(2)
        except asyncio.CancelledError:
            return


async def test_a_feed_whose_cancellation_redis_py_swallows_ends(start_redis: StartRedis) -> None:
    port = int(start_redis().url.rpartition(":")[2].partition("/")[0])
    redis = Redis.from_pool(ConnectionPool(connection_class=Deaf, port=port))
    feed = feed_of(redis)
    running = asyncio.create_task(feed.run())
    await asyncio.sleep(0.5)
    feed.stop()
    await ended(running)
    await redis.aclose()
