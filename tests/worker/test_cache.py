"""Results kept in Redis: computed once while they are good, by whichever worker, and never a reason to fail."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from jobcast import Context, SyncContext
from jobcast.shared.errors import BadRequest
from jobcast.shared.events import JobCompleted, JobFailed
from jobcast.shared.keys import Keys
from jobcast.worker.cache import LARGEST, Cache
from tests.conftest import StartRedis
from tests.worker.conftest import Bench, bench_at

KEY = "pnl:wallet-7"


async def results(bench: Bench, *datas: Any) -> list[Any]:
    """Of a job for each, one after the other."""
    found = []
    for data in datas:
        last = (await bench.ended(await bench.submit(data)))[-1]
        assert isinstance(last, JobCompleted), last
        found.append(last.result)
    return found


async def test_system_4_a_result_is_kept_in_redis_for_the_jobs_of_every_worker_while_it_is_good(bench: Bench) -> None:
    computed: list[str] = []

    @bench.handler()
    async def analyse(ctx: Context) -> Any:
        async def pnl() -> dict[str, Any]:
            computed.append(ctx.job_id)
            return {"number": len(computed), "pair": (1, 2)}

        return await ctx.cached(KEY, 60, pnl, fresh=ctx.data["forced"])

    async with bench.worker():
        first = await results(bench, {"forced": False})
    assert 0 < await bench.commands.pttl(Keys().cached(KEY)) <= 60_000
    async with bench.worker():
        others = await results(bench, {"forced": False}, {"forced": True}, {"forced": False})
        await bench.commands.pexpire(Keys().cached(KEY), 1)
        await asyncio.sleep(0.01)
        late = await results(bench, {"forced": False})
    assert first == [{"number": 1, "pair": [1, 2]}]
    assert [each["number"] for each in (*others, *late)] == [1, 2, 2, 3]


async def test_a_plain_function_computes_in_its_own_thread(bench: Bench) -> None:
    @bench.handler()
    def analyse(ctx: SyncContext) -> Any:
        def thread() -> str:
            return threading.current_thread().name

        return [ctx.cached(ctx.job_id, 60, thread), threading.current_thread().name, ctx.cached(ctx.job_id, 60, thread)]

    async with bench.worker():
        (told,) = await results(bench, None)
    assert told == [told[1]] * 3


async def test_nothing_is_a_result_as_well(bench: Bench) -> None:
    cache = Cache(bench.commands, Keys())
    assert await cache.find(KEY, 60, fresh=False) is None
    assert await cache.keep(KEY, 60, None) == b"null"
    assert await cache.find(KEY, 60, fresh=False) == b"null"


async def spoil_by_hand(bench: Bench) -> None:
    await bench.commands.set(Keys().cached(KEY), b"{")


async def spoil_by_kind(bench: Bench) -> None:
    await bench.commands.lpush(Keys().cached(KEY), b"1")


@pytest.mark.parametrize("spoil", [spoil_by_hand, spoil_by_kind])
async def test_what_is_no_result_is_computed_anew(bench: Bench, spoil: Callable[[Bench], Any]) -> None:
    await spoil(bench)
    cache = Cache(bench.commands, Keys())
    assert await cache.find(KEY, 60, fresh=False) is None
    await cache.keep(KEY, 60, 8)
    assert await cache.find(KEY, 60, fresh=False) == b"8"


async def test_what_is_too_large_is_given_and_not_kept(bench: Bench) -> None:
    cache = Cache(bench.commands, Keys())
    assert len(await cache.keep(KEY, 60, "x" * LARGEST)) == LARGEST + 2
    assert not await bench.commands.exists(Keys().cached(KEY))


async def test_without_redis_it_is_computed(start_redis: StartRedis) -> None:
    server = start_redis()
    async with bench_at(server.url) as bench:
        cache = Cache(bench.commands, Keys())
        server.kill()
        assert await cache.find(KEY, 60, fresh=False) is None
        assert await cache.keep(KEY, 60, [7]) == b"[7]"


@pytest.mark.parametrize(
    ("key", "ttl", "value", "named"),
    [
        ("", 60, 1, "key of a result"),
        ("two words", 60, 1, "two words"),
        ("k" * 256, 60, 1, "255"),
        (KEY, 0, 1, "ttl"),
        (KEY, float("nan"), 1, "ttl"),
        (KEY, 10**9, 1, "604800"),
        (KEY, 60, object(), "cannot be written as JSON"),
    ],
)
async def test_what_no_cache_can_hold_fails_by_name(bench: Bench, key: str, ttl: float, value: Any, named: str) -> None:
    async def compute() -> Any:
        return value

    @bench.handler()
    async def analyse(ctx: Context) -> None:
        with pytest.raises(BadRequest, match=named):
            await ctx.cached(key, ttl, compute)

    async with bench.worker():
        last = (await bench.ended(await bench.submit()))[-1]
    assert not isinstance(last, JobFailed), last.error
