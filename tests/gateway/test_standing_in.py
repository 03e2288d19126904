"""A gateway tells what goes wrong while no worker lives to tell it."""

import asyncio

from jobcast.shared.journal import RedisJournal
from jobcast.shared.keys import Keys
from jobcast.shared.redis import connect
from tests.contract.jobs import bring
from tests.gateway.support import served
from tests.support.receiver import receiving
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until


async def test_a_gateway_delivers_alerts_while_no_worker_lives_if_it_knows_the_receiver(
    redis_url: str, redis_server: RedisServer
) -> None:
    ours, other = Keys(), Keys("other")
    client = connect(redis_url, name="test-other")
    with redis_server.client() as behind:
        behind.hset(ours.workers(), "w", "1:1:films")
        async with (
            receiving() as receiver,
            served(redis_url, alert_url=receiver.url, alert_secret="s") as house,
            served(redis_url, key_prefix="other"),
        ):
            await bring(house.journal, "j", "failed")
            await bring(RedisJournal(client, other), "k", "failed")
            await asyncio.sleep(2.3)  # each looks every second
            assert behind.llen(ours.troubles()) == 1, "a worker lives"
            assert behind.llen(other.troubles()) == 1, "logged by a gateway, it would never be posted"
            behind.hdel(ours.workers(), "w")
            await wait_until(lambda: receiver.posts, 5, "the alert")
            assert receiver.posts[0].alert["details"]["jobId"] == "j"
    await client.aclose()
