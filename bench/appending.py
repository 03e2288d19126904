"""What the journal costs: an event checked, numbered, recorded and published, against the bare PUBLISH it replaces."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from redis.asyncio import Redis

from jobcast.shared.events import JobProgress, JobStarted
from jobcast.shared.journal import RedisJournal, Writer
from jobcast.shared.redis import connect


def measure(redis_url: str, events: int) -> dict[str, dict[str, float]]:
    """One writer, one event at a time, as a reporter sends them."""
    return asyncio.run(_measure(redis_url, events))


async def _measure(redis_url: str, events: int) -> dict[str, dict[str, float]]:
    client = connect(redis_url, name="bench")
    common = {"job_id": "bench", "queue": "bench", "attempt": 1, "timestamp": 1}
    journal, writer = RedisJournal(client), Writer()
    await journal.append(JobStarted(**common, queue_to_start_time=1, worker="bench"))  # type: ignore[arg-type]
    wire = b'["job-progress",{"seq":7,"epoch":"k3v9k3v9","jobId":"bench","queue":"bench","progress":41.7}]'

    async def publish(_: int) -> None:
        await client.publish("bench", wire)

    async def append(n: int) -> None:
        event = JobProgress(**common, progress=n % 100, stage="rendering")  # type: ignore[arg-type]
        await journal.append(event, key=writer.key())

    try:
        return {
            "publish": await _spend(client, publish, events),
            "jobcast": await _spend(client, append, events),
        }
    finally:
        await client.aclose()


async def _spend(client: Redis, step: Callable[[int], Awaitable[None]], events: int) -> dict[str, float]:
    redis, wall = await _redis_cpu(client), time.perf_counter()
    for n in range(events):
        await step(n)
    wall = time.perf_counter() - wall
    return {
        "append.wall": wall / events * 1e6,
        "append.cpu": (await _redis_cpu(client) - redis) / events * 1e6,
    }


async def _redis_cpu(client: Redis) -> float:
    used = await client.info("cpu")
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])
