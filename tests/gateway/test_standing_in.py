"""A gateway tells what goes wrong while no worker lives to tell it."""

import asyncio

from jobcast.shared.keys import Keys
from tests.contract.jobs import bring
from tests.gateway.support import served
from tests.support.receiver import receiving
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until


async def test_a_gateway_delivers_alerts_while_no_worker_lives_and_leaves_them_to_one_that_does(
    redis_url: str, redis_server: RedisServer
) -> None:
    with redis_server.client() as behind:
        behind.hset(Keys().workers(), "w", "1:1:films")
        async with receiving() as receiver, served(redis_url, alert_url=receiver.url, alert_secret="s") as house:
            await bring(house.journal, "j", "failed")
            await asyncio.sleep(2.3)  # it looks every second
            assert behind.llen(Keys().troubles()) == 1
            behind.hdel(Keys().workers(), "w")
            await wait_until(lambda: receiver.posts, 5, "the alert")
            assert receiver.posts[0].alert["details"]["jobId"] == "j"


async def test_a_gateway_that_does_not_know_the_receiver_logs_nothing_that_another_would_post(
    redis_url: str, redis_server: RedisServer
) -> None:
    with redis_server.client() as behind:
        async with served(redis_url) as house:
            await bring(house.journal, "j", "failed")
            await asyncio.sleep(2.3)
            assert behind.llen(Keys().troubles()) == 1
