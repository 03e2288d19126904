"""What the journal costs: an event checked, numbered, recorded and published, against the bare PUBLISH it replaces."""

import time

from redis.asyncio import Redis

from bench.case import Row
from jobcast.shared.events import JobProgress, JobStarted
from jobcast.shared.journal import RedisJournal, Writer
from jobcast.shared.redis import connect

EVENTS = 5000


async def _redis_cpu(client: Redis) -> float:
    used = await client.info("cpu")
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


async def measure(redis_url: str) -> list[Row]:
    """One writer, one event at a time, as a reporter sends them."""
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

    spent = []
    for step in (publish, append):
        redis, wall = await _redis_cpu(client), time.perf_counter()
        for n in range(EVENTS):
            await step(n)
        spent.append((time.perf_counter() - wall, await _redis_cpu(client) - redis))
    await client.aclose()
    (publish_wall, publish_cpu), (append_wall, append_cpu) = spent
    each = 1e6 / EVENTS
    return [
        Row("append one event", "us", append_wall * each, publish_wall * each, "PUBLISH"),
        Row("append one event, CPU of Redis", "us", append_cpu * each, publish_cpu * each, "PUBLISH"),
    ]
