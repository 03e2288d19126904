"""A worker inside a program of one's own."""

import asyncio
from typing import Any

import pytest

from jobcast import Context, QueueDefinition, Registry, Worker
from jobcast.shared.errors import BadSettings, NotPossible
from tests.support.waiting import wait_until
from tests.worker.conftest import Bench


@pytest.fixture
def registry() -> Registry:
    registry = Registry()

    async def go(ctx: Context) -> Any:
        await asyncio.sleep(ctx.data or 0)
        return "done"

    registry.add("work", "go", go)
    return registry


async def test_it_works_while_the_block_runs(bench: Bench, registry: Registry) -> None:
    async with Worker(registry, redis_url=bench.url):
        *_, last = await bench.ended(await bench.submit())
    assert last.kind == "job-completed"


async def test_started_twice_is_started_once(bench: Bench, registry: Registry) -> None:
    worker = Worker(registry, redis_url=bench.url)
    await asyncio.gather(worker.start(), worker.start())
    await worker.start()
    try:
        names = [client["name"] for client in await bench.client.client_list()]
        assert names.count("jobcast-heartbeat") == 1, names
    finally:
        await worker.stop()


async def test_stopping_finishes_what_is_in_hand(bench: Bench, registry: Registry) -> None:
    worker = Worker(registry, redis_url=bench.url)
    await worker.start()
    job_id = await bench.submit(0.5)
    await bench.seen(job_id, "job-queue-to-start")
    await asyncio.gather(worker.stop(), worker.stop())
    assert "job-completed" in await bench.kinds(job_id)
    await worker.wait()


async def test_a_worker_that_was_stopped_is_not_started_again(bench: Bench, registry: Registry) -> None:
    worker = Worker(registry, redis_url=bench.url)
    await worker.stop()
    await worker.start()
    await worker.stop()
    with pytest.raises(NotPossible, match="make another one"):
        await worker.start()


async def test_what_is_not_done_in_time_waits_for_another_worker(bench: Bench, registry: Registry) -> None:
    async with Worker(registry, redis_url=bench.url, drain=0.1):
        job_id = await bench.submit(600)
        await bench.seen(job_id, "job-queue-to-start")
    assert await bench.state(job_id) in {"wait", "delayed"}


async def test_concurrency_is_the_queue_s_or_else_the_worker_s(bench: Bench) -> None:
    registry, most = Registry(), {"narrow": 0, "wide": 0}
    at_work = dict(most)

    async def go(ctx: Context) -> None:
        at_work[ctx.queue] += 1
        most[ctx.queue] = max(most[ctx.queue], at_work[ctx.queue])
        await asyncio.sleep(0.3)
        at_work[ctx.queue] -= 1

    for queue in most:
        registry.add(queue, "go", go)
    registry.declare(QueueDefinition("narrow", concurrency=1))
    jobs = [await bench.submit(queue=queue) for queue in most for _ in range(4)]
    async with Worker(registry, redis_url=bench.url, concurrency=3):
        await asyncio.gather(*map(bench.ended, jobs))
    assert most == {"narrow": 1, "wide": 3}


async def test_what_ends_it_is_raised(bench: Bench, registry: Registry) -> None:
    worker = Worker(registry, redis_url=bench.url)
    await worker.start()
    task = next(task for task in asyncio.all_tasks() if task.get_name() == "jobcast worker")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await worker.wait()
    await wait_until(task.done, 5, "its end")


@pytest.mark.parametrize("given", [{"concurrency": 0}, {"concurrency": "many"}, {"drain": -1}])
def test_settings_are_checked_at_once(registry: Registry, given: dict[str, Any]) -> None:
    with pytest.raises(BadSettings):
        Worker(registry, **given)


def test_a_registry_without_a_handler_is_refused() -> None:
    with pytest.raises(BadSettings, match="nothing to work for"):
        Worker(Registry())


async def test_a_block_that_is_given_up_before_redis_answers_leaves_no_worker(registry: Registry) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5), Worker(registry, redis_url="redis://127.0.0.1:1"):
            pytest.fail("nobody answers there")
    assert "jobcast worker" not in {task.get_name() for task in asyncio.all_tasks()}
