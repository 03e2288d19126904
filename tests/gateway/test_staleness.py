"""A feed that is gone and comes back: whoever watches is told that what they see may be old, and when it is no more."""

from tests.conftest import StartRedis
from tests.gateway.events import completed, logged, run_job
from tests.gateway.listeners import Listener, SocketIoListener, SseListener, WebSocketListener
from tests.gateway.support import Served, served
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until


def statuses(client: Listener) -> list[str]:
    return [payload["status"] for payload in client.named("feed-status")]


async def told(client: Listener, *expected: str, within: float = 5) -> None:
    await wait_until(lambda: statuses(client) == list(expected), within, f"{expected}; told {client.told[-5:]}")


async def test_every_door_is_told_once_and_the_end_of_it_comes_after_what_was_missed(start_redis: StartRedis) -> None:
    redis = start_redis(appendonly=True)
    async with (
        served(redis.url) as house,
        WebSocketListener.to(house.url) as plain,
        SocketIoListener.to(house.url) as socket,
        SseListener.to(house.url, "/api/v1/queues/demo/events") as stream,
        WebSocketListener.to(house.url) as nobody,
    ):
        await run_job(house.journal, "j", steps=0, finish=False)
        for client in (plain, socket):
            await client.call("subscribe-to-job", {"jobId": "j"})
            await client.call("subscribe-to-job", {"jobId": "other"})
        watching: list[Listener] = [plain, socket, stream]
        await stream.until_seq(2)
        redis.pause()
        for each in watching:
            await told(each, "stale", within=3)
        redis.resume()
        for number in range(50):
            await house.journal.append(logged("j", f"{number}"))
        for each in watching:
            await told(each, "stale", "current")
            await each.until_seq(52)
        assert statuses(nobody) == []


async def test_it_is_current_only_once_everything_missed_was_read(house: Served, redis_server: RedisServer) -> None:
    async with WebSocketListener.to(house.url) as client:
        for number in range(20):
            await run_job(house.journal, f"j{number}", steps=0, finish=False)
            await client.call("subscribe-to-job", {"jobId": f"j{number}"})
        with redis_server.client() as redis:
            redis.client_kill_filter(_type="pubsub")
            for number in range(20):
                await house.journal.append(completed(f"j{number}"))
        await told(client, "stale", "current")
        names = [name for name, _ in client.told]
        assert names[: names.index("feed-status")].count("job-completed") == 0
        assert names[: len(names) - 1 - names[::-1].index("feed-status")].count("job-completed") == 20


async def test_who_subscribes_meanwhile_is_told_too(house: Served, redis_server: RedisServer) -> None:
    async with WebSocketListener.to(house.url) as early, WebSocketListener.to(house.url) as late:
        await run_job(house.journal, "j", steps=0, finish=False)
        await early.call("subscribe-to-job", {"jobId": "j"})
        await house.journal.append(logged("j", "from here on it is in step"))
        await early.until_seq(3)
        with redis_server.client() as redis:
            # The feed cannot connect, while the connection for commands stands.
            redis.config_set("maxclients", 1)
            try:
                redis.client_kill_filter(_type="pubsub")
                await told(early, "stale")
                assert (await late.call("subscribe-to-job", {"jobId": "j"}))["ok"]
                await told(late, "stale")
            finally:
                redis.config_set("maxclients", 10_000)
        for client in (early, late):
            await told(client, "stale", "current")


async def test_who_leaves_meanwhile_is_told_the_end_of_it_and_who_begins_with_a_queue_both(
    house: Served, redis_server: RedisServer
) -> None:
    async with WebSocketListener.to(house.url) as early, WebSocketListener.to(house.url) as late:
        await early.call("subscribe-to-job", {"jobId": "j"})
        await early.call("subscribe-to-queue", {"queueName": "demo"})
        await late.call("subscribe-to-queue", {"queueName": "demo"})
        await late.call("unsubscribe-from-queue", {"queueName": "demo"})
        with redis_server.client() as redis:
            redis.config_set("maxclients", 1)
            try:
                redis.client_kill_filter(_type="pubsub")
                await told(early, "stale")
                await early.call("unsubscribe-from-job", {"jobId": "j"})
                await early.call("unsubscribe-from-queue", {"queueName": "demo"})
                assert statuses(late) == []
                # Its channel is followed still, for a little while.
                assert (await late.call("subscribe-to-queue", {"queueName": "demo"}))["ok"]
                await told(late, "stale")
            finally:
                redis.config_set("maxclients", 10_000)
        for client in (early, late):
            await told(client, "stale", "current")
