"""Locks: one owner, extended while its job runs, released whatever happens, and lost not in silence."""

import asyncio
import time
from typing import Any

import pytest

from jobcast import Context, LockHeld, SyncContext
from jobcast.shared.errors import BadRequest
from jobcast.shared.events import Event, JobFailed
from jobcast.shared.redis import connect
from jobcast.worker import runner
from jobcast.worker.locks import Locks
from tests.conftest import StartRedis
from tests.support.waiting import wait_until
from tests.worker.conftest import Bench, bench_at

KEY = "lock:wallet:0xabc:sync"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait for a lock of 0.1 s instead of a second, that the tests need not sit it out."""
    monkeypatch.setattr(runner, "SHORTEST_WAIT", 100)


def failures(events: list[Event]) -> list[JobFailed]:
    return [event for event in events if isinstance(event, JobFailed)]


async def test_a_lock_names_its_job_and_lives_five_minutes(bench: Bench) -> None:
    @bench.handler()
    async def go(ctx: Context) -> Any:
        async with ctx.lock(KEY):
            return [str(await bench.client.get(KEY)).partition("/")[0], await bench.client.pttl(KEY)]

    job_id = await bench.submit()
    async with bench.worker():
        holder, left = getattr((await bench.ended(job_id))[-1], "result")  # noqa: B009  whichever event it is
    assert holder == job_id
    assert 290_000 < left <= 300_000


async def test_a_lock_not_got_has_its_job_tried_again_later_and_uses_no_attempt_up(bench: Bench) -> None:
    inside: list[str] = []
    most = 0

    @bench.handler()
    async def go(ctx: Context) -> None:
        nonlocal most
        async with ctx.lock(KEY):
            inside.append(ctx.job_id)
            most = max(most, len(inside))
            await asyncio.sleep(0.25)
            inside.remove(ctx.job_id)

    jobs = [await bench.submit(attempts=1) for _ in range(3)]
    async with bench.worker(), bench.worker():
        ends = [await bench.ended(job_id) for job_id in jobs]
    assert most == 1
    assert {events[-1].kind for events in ends} == {"job-completed"}
    waits = [failed for events in ends for failed in failures(events)]
    assert waits
    for failed in waits:
        assert failed.error.startswith(f"LockHeld: lock {KEY} is held by job ")
        assert (failed.attempts, failed.final) == (0, False)
        assert failed.retry_at is not None


async def test_a_lock_that_is_never_free_is_not_waited_for_for_ever(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "MOST_WAITS", 2)
    await bench.client.set(KEY, "somebody")

    @bench.handler()
    async def go(ctx: Context) -> None:
        async with ctx.lock(KEY):
            raise AssertionError

    job_id = await bench.submit()
    async with bench.worker():
        told = failures(await bench.ended(job_id))
    assert [(event.final, event.attempts) for event in told] == [(False, 0), (False, 0), (True, 1)]
    assert told[-1].error == f"LockHeld: lock {KEY} is held by job somebody, 2 times in a row"


@pytest.mark.parametrize("how", ["success", "failure", "cancel", "time-out", "shutdown"])
@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_a_lock_is_released_whatever_happened(bench: Bench, how: str, kind: str) -> None:
    taken = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def go(ctx: Context) -> None:
        async with ctx.lock(KEY):
            taken.set()
            if how == "failure":
                raise ValueError
            if how != "success":
                await asyncio.sleep(60)

    def go_in_thread(ctx: SyncContext) -> None:
        with ctx.lock(KEY):
            loop.call_soon_threadsafe(taken.set)
            if how == "failure":
                raise ValueError
            while how != "success":
                time.sleep(0.02)
                ctx.check_cancelled()

    bench.handler(timeout=0.3 if how == "time-out" else 30.0)(go if kind == "async" else go_in_thread)
    job_id = await bench.submit()
    async with bench.worker(drain=0.1):
        await asyncio.wait_for(taken.wait(), 5)
        if how == "cancel":
            await bench.queues.cancel(job_id)
        if how != "shutdown":
            await bench.ended(job_id)
            await wait_until(lambda: _gone(bench))
    assert await _gone(bench)


async def _gone(bench: Bench) -> bool:
    return not await bench.client.exists(KEY)


async def test_a_lock_is_extended_for_as_long_as_its_job_runs(bench: Bench) -> None:
    @bench.handler()
    async def go(ctx: Context) -> list[str]:
        async with ctx.lock(KEY, ttl=0.3):
            first = await bench.client.get(KEY)
            await asyncio.sleep(1.0)
            assert await bench.client.get(KEY) == first
        return []

    job_id = await bench.submit()
    async with bench.worker():
        assert (await bench.ended(job_id))[-1].kind == "job-completed"


async def test_a_lost_lock_stops_its_job_which_fails_and_is_tried_again(bench: Bench) -> None:
    @bench.handler()
    async def go(ctx: Context) -> int:
        async with ctx.lock(KEY, ttl=0.3):
            if ctx.attempt == 1:
                await bench.client.set(KEY, "thief/1", px=100)
                await asyncio.sleep(60)
        return ctx.attempt

    job_id = await bench.submit(attempts=2, backoff=200)
    async with bench.worker():
        events = await bench.ended(job_id)
    (failed,) = failures(events)
    assert (failed.error, failed.final, failed.attempts) == (f"LockLost: the job lost its lock {KEY}", False, 1)
    assert events[-1].kind == "job-completed"


async def test_a_lock_found_lost_at_its_release_fails_the_job_and_leaves_the_other_s(bench: Bench) -> None:
    @bench.handler()
    async def go(ctx: Context) -> None:
        async with ctx.lock(KEY):
            await bench.client.set(KEY, "thief/1")

    job_id = await bench.submit()
    async with bench.worker():
        (failed,) = failures(await bench.ended(job_id))
    assert failed.error == f"LockLost: the job lost its lock {KEY}"
    assert await bench.client.get(KEY) == "thief/1"


async def test_an_old_attempt_cannot_release_the_lock_of_a_new_one_of_the_same_job(bench: Bench) -> None:
    lost: list[str] = []
    locks = Locks(bench.commands)
    old = await locks.acquire(KEY, "job-1/a:1", 60, lost.append)
    await bench.client.delete(KEY)
    new = await locks.acquire(KEY, "job-1/b:7", 60, lost.append)
    await locks.release(old)
    assert await bench.client.get(KEY) == new.value
    assert lost == [KEY]
    await locks.release(new)
    assert await _gone(bench)


async def test_a_second_taker_of_the_same_job_is_refused_too(bench: Bench) -> None:
    locks = Locks(bench.commands)
    first = await locks.acquire(KEY, "job-1/a:1", 60, print)
    with pytest.raises(LockHeld, match="held by job job-1") as caught:
        await locks.acquire(KEY, "job-1/a:1", 60, print)
    assert caught.value.holder == "job-1"
    await locks.release(first)


async def test_a_lock_whose_taking_was_cut_off_is_not_left_behind(bench: Bench) -> None:
    locks = Locks(bench.commands)
    await locks.release(await locks.acquire(KEY, "job-1/a:1", 60, print))
    for turns in range(6):
        taking = asyncio.create_task(locks.acquire(KEY, "job-1/a:1", 60, print))
        for _ in range(turns):
            await asyncio.sleep(0)
        taking.cancel()
        await asyncio.wait([taking])
        if not taking.cancelled():
            await locks.release(taking.result())
        await wait_until(lambda: _gone(bench))


async def test_while_redis_is_away_a_lock_is_kept_for_its_life_and_no_longer(start_redis: StartRedis) -> None:
    server = start_redis()
    lost: list[float] = []
    commands = connect(server.url, name="test")
    locks = Locks(commands)
    loop = asyncio.create_task(locks.run())
    began = time.monotonic()
    await locks.acquire(KEY, "job-1/a:1", 1.2, lambda _: lost.append(time.monotonic() - began))
    server.pause()
    await asyncio.sleep(0.8)
    server.resume()
    await asyncio.sleep(1.0)
    assert lost == [], "it was extended again in time"
    server.pause()
    stopped = time.monotonic() - began
    await wait_until(lambda: lost, 5)
    assert 0.5 < lost[0] - stopped < 2.0
    server.resume()
    locks.stop()
    await asyncio.wait_for(loop, 15)
    await commands.aclose()


@pytest.mark.parametrize("key", ["", "wallet", "lock:", "lock:a b", "lock:a\n", "bull:work:wait", "lock:" + "x" * 251])
async def test_what_is_no_lock_s_key_is_refused(bench: Bench, key: str) -> None:
    said: list[str] = []

    @bench.handler()
    async def go(ctx: Context) -> None:
        try:
            async with ctx.lock(key):
                raise AssertionError
        except BadRequest as error:
            said.append(str(error))

    job_id = await bench.submit()
    async with bench.worker():
        await bench.ended(job_id)
    assert "expected a lock's key as lock:<what>:<which>" in said[0]


async def test_a_worker_that_died_leaves_its_locks_for_their_life_only(redis_url: str) -> None:
    async with bench_at(redis_url) as bench:
        dead = Locks(bench.commands)
        await dead.acquire(KEY, "job-1/a:1", 0.3, print)  # whose loop does not run

        @bench.handler()
        async def go(ctx: Context) -> int:
            async with ctx.lock(KEY):
                return ctx.attempt

        job_id = await bench.submit()
        async with bench.worker():
            assert (await bench.ended(job_id))[-1].kind == "job-completed"


async def test_a_lock_that_a_handler_left_with_a_task_is_released_when_the_handler_ends(bench: Bench) -> None:
    left: list[asyncio.Task[None]] = []

    @bench.handler()
    async def go(ctx: Context) -> None:
        taken = asyncio.Event()

        async def hold() -> None:
            async with ctx.lock(KEY):
                taken.set()
                await asyncio.sleep(600)

        left.append(asyncio.create_task(hold()))
        await taken.wait()

    async with bench.worker():
        await bench.ended(await bench.submit())

        async def is_free() -> bool:
            return await bench.client.get(KEY) is None

        await wait_until(is_free, 10, "the lock")
    left[0].cancel()
    await asyncio.wait(left)
