"""Script calls that share a connection: each has its own answer, whatever becomes of the others and of the line."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from jobcast.shared import joined
from jobcast.shared.errors import Unavailable
from jobcast.shared.redis import connect, connect_for_bullmq, unavailable
from tests.conftest import StartRedis
from tests.support.redis_server import RedisServer


@pytest.fixture
def server(start_redis: StartRedis) -> RedisServer:
    return start_redis()


@pytest.fixture
async def client(server: RedisServer) -> AsyncIterator[Redis]:
    client = connect(server.url, name="joined", joined=True)
    yield client
    await client.aclose()


def reads(server: RedisServer) -> int:
    with server.client() as plain:
        return int(plain.info("stats")["total_reads_processed"])


async def test_calls_of_one_turn_reach_redis_together_and_each_has_its_own_answer(
    server: RedisServer, client: Redis
) -> None:
    echo = client.register_script("return {ARGV[1], redis.call('INCR', 'n')}")
    await echo(args=["first"])
    before = reads(server)
    answers = await asyncio.gather(*(echo(args=[n]) for n in range(200)))
    assert answers == [[str(n).encode(), n + 2] for n in range(200)]
    assert reads(server) - before < 20


async def test_an_error_is_that_of_its_call_alone(client: Redis) -> None:
    good, bad = client.register_script("return 1"), client.register_script("return redis.call('INCR', KEYS[1])")
    await client.set("text", "no number")
    found = await asyncio.gather(good(), bad(keys=["text"]), good(), return_exceptions=True)
    assert [found[0], found[2]] == [1, 1]
    assert isinstance(found[1], ResponseError)


async def test_the_answer_to_a_call_that_was_cancelled_is_not_the_next_caller_s(client: Redis) -> None:
    echo = client.register_script("return ARGV[1]")
    await echo(args=["first"])
    calls = [asyncio.ensure_future(echo(args=[n])) for n in range(20)]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    assert await asyncio.gather(*calls[1::2]) == [str(n).encode() for n in range(1, 20, 2)]
    assert all(call.cancelled() for call in calls[::2])


async def test_calls_survive_a_connection_that_is_killed_and_a_redis_that_forgot_the_script(
    server: RedisServer, client: Redis
) -> None:
    echo = client.register_script("return ARGV[1]")
    for n in range(30):
        calls = [asyncio.ensure_future(echo(args=[k])) for k in range(20)]
        await asyncio.sleep(0)
        with server.client() as plain:
            plain.client_kill_filter(_type="normal", skipme=True)
            plain.script_flush()
        assert await asyncio.gather(*calls) == [str(k).encode() for k in range(20)], f"round {n}"


async def test_a_redis_that_hangs_is_told_in_time_and_serves_again_when_it_goes_on(
    server: RedisServer, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.connection_pool.connection_kwargs.update(socket_timeout=0.2, socket_connect_timeout=0.2)
    echo = client.register_script("return ARGV[1]")
    await echo(args=["first"])
    server.pause()
    started = time.monotonic()
    with pytest.raises(Unavailable), unavailable():
        await echo(args=["nobody hears"])
    assert time.monotonic() - started < 10
    server.resume()
    assert await echo(args=["again"]) == b"again"


async def test_beyond_its_bound_a_call_waits_for_room(client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    assert joined.MOST_UNANSWERED >= 1000, "as many as one queue may run at once, or its jobs wait for each other"
    monkeypatch.setattr(joined, "MOST_UNANSWERED", 2)
    echo = client.register_script("return ARGV[1]")
    await echo(args=["first"])
    calls = [asyncio.ensure_future(echo(args=[n])) for n in range(50)]
    await asyncio.sleep(0)
    assert len(client._calls._line._unanswered) == 2  # type: ignore[attr-defined]
    assert await asyncio.gather(*calls) == [str(n).encode() for n in range(50)]


async def test_one_who_waits_for_room_and_is_cancelled_takes_nobody_along(
    client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joined, "MOST_UNANSWERED", 2)
    echo = client.register_script("return ARGV[1]")
    await echo(args=["first"])
    calls = [asyncio.ensure_future(echo(args=[n])) for n in range(10)]
    await asyncio.sleep(0)
    calls[5].cancel()
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(found.pop(5), asyncio.CancelledError)
    assert found == [str(n).encode() for n in range(10) if n != 5]


async def test_an_answer_that_is_no_text_is_the_trouble_of_its_call_alone(server: RedisServer) -> None:
    client = connect_for_bullmq(server.url, name="joined", joined=True)
    try:
        echo = client.register_script("return ARGV[1]")
        await echo(args=["first"])
        found = await asyncio.gather(echo(args=["a"]), echo(args=[b"\xff"]), echo(args=["b"]), return_exceptions=True)
        assert [found[0], found[2]] == ["a", "b"]
        assert isinstance(found[1], UnicodeDecodeError)
        assert await echo(args=["after"]) == "after"
    finally:
        await client.aclose()


async def test_a_closed_client_calls_nobody(client: Redis) -> None:
    echo = client.register_script("return ARGV[1]")
    waiting = asyncio.ensure_future(echo(args=["under way"]))
    await asyncio.sleep(0)
    await client.aclose()
    with pytest.raises(Unavailable), unavailable():
        await waiting
