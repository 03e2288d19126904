"""The reading end of the feed, on the loop the gateway runs on."""

import asyncio

import pytest
import uvloop

from jobcast.gateway.subscriber import FeedLost, take_over
from jobcast.shared.redis import connect, duplicate
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until


async def send_while_it_breaks(server: RedisServer) -> None:
    client = connect(server.url, name="test")
    connection = duplicate(client, name="test-feed")
    await connection.connect()  # type: ignore[no-untyped-call]
    subscriber = take_over(connection, lambda _batch: None, lambda _answer: None)
    subscriber.send(b"SUBSCRIBE", b"j")
    with server.client() as redis:
        await wait_until(lambda: redis.client_kill_filter(_type="pubsub"), 2, "a subscriber to kill")
    # Within one of these turns the loss is known and the transport closed.
    for _ in range(200):
        subscriber.send(b"PING")
        await asyncio.sleep(0)
    with pytest.raises(FeedLost):
        await asyncio.wait_for(subscriber.lost(), 2)
    await connection.disconnect(nowait=True)
    await client.aclose()


def test_what_is_sent_between_the_loss_and_its_notice_is_dropped(redis_server: RedisServer) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(send_while_it_breaks(redis_server))
