"""Concurrency that follows the load: more jobs at once while they wait, fewer while the process cannot keep up."""

import asyncio
import time

import pytest

from jobcast import Context
from jobcast.shared.definitions import Definitions
from jobcast.shared.errors import BadSettings
from jobcast.worker.queues import QueueDefinition, read_definition
from jobcast.worker.slots import LAG, Governor, Slots, following
from tests.support.waiting import wait_until
from tests.worker.conftest import Bench


def test_the_limit_rises_by_one_falls_by_a_quarter_and_keeps_its_bounds() -> None:
    assert following(4, 2, 8, full=True, lag=0.0) == 5
    assert following(8, 2, 8, full=True, lag=0.0) == 8
    assert following(8, 2, 8, full=True, lag=2 * LAG) == 6
    assert following(3, 2, 8, full=True, lag=2 * LAG) == 2
    assert following(2, 2, 8, full=True, lag=2 * LAG) == 2
    assert following(5, 2, 8, full=False, lag=0.0) == 4
    assert following(2, 2, 8, full=False, lag=0.0) == 2


async def test_a_slot_is_free_when_one_comes_back_or_the_limit_is_raised() -> None:
    slots = Slots(1)
    slots.take()
    for free in (slots.release, lambda: slots.resize(2)):
        waiting = asyncio.create_task(slots.room())
        await asyncio.sleep(0.01)
        assert not waiting.done()
        free()
        await asyncio.wait_for(waiting, 1)
        slots.take()
    assert slots.full
    slots.resize(1)
    assert slots.over


async def at_once(bench: Bench, most: int | None, jobs: int, handler_takes: float = 0.4) -> list[int]:
    """How many were at work when each began."""
    seen, busy = [], 0

    @bench.handler()
    async def go(_: Context) -> None:
        nonlocal busy
        busy += 1
        seen.append(busy)
        await asyncio.sleep(handler_takes)
        busy -= 1

    bench.registry.declare(QueueDefinition("work", concurrency=2, max_concurrency=most))
    async with bench.worker():
        for job_id in [await bench.submit() for _ in range(jobs)]:
            await bench.ended(job_id, 30)
    return seen


async def test_system_4_concurrency_follows_the_load_up_while_jobs_wait(bench: Bench) -> None:
    assert 4 <= max(await at_once(bench, 5, 40)) <= 5


async def test_without_a_maximum_it_stays(bench: Bench) -> None:
    assert max(await at_once(bench, None, 20, 0.1)) == 2


async def test_system_4_concurrency_follows_the_load_down_while_the_process_cannot_keep_up(bench: Bench) -> None:
    """It rises first; then what is at work holds up the event loop, and fewer are taken though hundreds wait."""
    seen, busy, heavy = [], 0, False

    @bench.handler()
    async def go(_: Context) -> None:
        nonlocal busy
        busy += 1
        seen.append(busy)
        if heavy:
            time.sleep(0.1)  # noqa: ASYNC251  that is its fault
        await asyncio.sleep(0.0 if heavy else 0.1)
        busy -= 1

    bench.registry.declare(QueueDefinition("work", concurrency=2, max_concurrency=6))
    for _ in range(500):
        await bench.submit()
    async with bench.worker(drain=1.0):
        await wait_until(lambda: max(seen, default=0) == 6, 20, "six at once")
        heavy = True
        await wait_until(lambda: max(seen[-10:]) <= 2, 20, "two at once")


async def test_what_is_not_used_is_given_back() -> None:
    slots, over = Slots(3), asyncio.Event()
    slots.take()
    governor = Governor("work", slots, 1, 4)
    await governor.look(over)
    assert slots.limit == 2
    await governor.look(over)
    assert slots.limit == 1
    await governor.look(over)
    assert slots.limit == 2, "the one that is left is used"


async def test_it_is_said_as_data_and_told_to_everybody(bench: Bench) -> None:
    definition = read_definition("work", {"concurrency": 2, "maxConcurrency": 9})
    assert definition == QueueDefinition("work", concurrency=2, max_concurrency=9)
    await Definitions(bench.commands).write("work", definition.words({}), worker="w:1")
    words = await Definitions(bench.commands).read("work")
    assert words is not None
    assert (words.concurrency, words.max_concurrency) == (2, 9)


@pytest.mark.parametrize("most", [0, 1, 1001])
def test_a_maximum_below_what_it_begins_with_or_beyond_all_is_refused(most: int) -> None:
    with pytest.raises(BadSettings, match="max_concurrency of queue work from 2 to 1000"):
        QueueDefinition("work", concurrency=2, max_concurrency=most)
