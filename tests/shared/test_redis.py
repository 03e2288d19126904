"""How connections are made: by every kind of address, and as the parts on top of them need."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from jobcast.shared.journal import RedisJournal
from jobcast.shared.queue import JobQueues
from jobcast.shared.redis import connect, connect_for_bullmq, duplicate
from tests.conftest import StartRedis


async def test_a_redis_on_a_unix_socket_serves_all_three_kinds_of_connection(start_redis: StartRedis) -> None:
    url = start_redis(socket="unix").url
    commands, bullmq = connect(url, name="test"), connect_for_bullmq(url, name="test")
    subscriber = duplicate(commands, name="test")
    try:
        submitted = await JobQueues(bullmq, journal := RedisJournal(commands)).submit("demo", "simulate", {})
        assert (await journal.read(submitted.job_id)).position is not None
        await subscriber.connect()  # type: ignore[no-untyped-call]
        await subscriber.send_command("PING")
        assert await subscriber.read_response() == b"PONG"
    finally:
        await subscriber.disconnect(nowait=True)
        await commands.aclose()
        await bullmq.aclose()


CALLS: dict[str, Callable[[Redis], Awaitable[Any]]] = {
    "a command": lambda client: client.ping(),
    "a script": lambda client: client.register_script("return 1")(),
    "a blocking wait": lambda client: client.bzpopmin("nothing", 20),
}


@pytest.mark.parametrize("call", CALLS)
async def test_a_call_ends_when_it_is_cancelled_whatever_it_is_doing(redis_url: str, call: str) -> None:
    """redis-py writes under wait_for, and that of Python 3.11 forgets a cancel that comes as the write is done."""
    client = connect_for_bullmq(redis_url, name="test")
    for steps in range(60):
        await client.ping()
        asked = asyncio.ensure_future(CALLS[call](client))
        for _ in range(steps % 20):
            await asyncio.sleep(0)
        if asked.done() or not asked.cancel():
            continue
        await asyncio.wait([asked], timeout=5)
        assert asked.cancelled(), f"cancelled after {steps % 20} steps it went on"
    assert await client.echo("the next answer is the next caller's") == "the next answer is the next caller's"
    await client.aclose()
