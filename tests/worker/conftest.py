"""A worker within the test's own event loop, and a hand on what it leaves behind."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from jobcast.shared.events import Event, decode
from jobcast.shared.journal import RedisJournal
from jobcast.shared.options import JobOptions
from jobcast.shared.queue import JobQueues
from jobcast.shared.redis import connect, connect_for_bullmq
from jobcast.shared.settings import Settings
from jobcast.shared.vigil import Timing as Watching
from jobcast.worker import reconciler
from jobcast.worker.calendar import MEND_EVERY
from jobcast.worker.consumer import Timing
from jobcast.worker.registry import Registry
from jobcast.worker.service import Service
from tests.support.waiting import wait_until

QUICK = Timing(lock=2.0, renew=0.4, stalled_check=0.5, idle=1.0)
ALERT = Watching(look=0.1, silent=50, calm=3, gap=1.0)
"""Never tells a worker dead that only had to wait for this machine, and judges soon after its start."""


class Bench:
    """One Redis, a producer, the journal, and workers to be started on it."""

    def __init__(self, url: str, client: Redis, commands: Redis) -> None:
        self.url = url
        self.client = client
        self.commands = commands
        self.journal = RedisJournal(commands)
        self.queues = JobQueues(client, self.journal)
        self.registry = Registry()

    def handler(self, queue: str = "work", name: str = "go", **how: Any) -> Callable[[Any], Any]:
        """Register the decorated function."""

        def take(function: Any) -> Any:
            self.registry.add(queue, name, function, **how)
            return function

        return take

    async def submit(self, data: Any = None, queue: str = "work", name: str = "go", **options: Any) -> str:
        return (await self.queues.submit(queue, name, data, JobOptions(**options))).job_id

    @asynccontextmanager
    async def worker(
        self,
        *,
        timing: Timing = QUICK,
        reconciling: reconciler.Timing | None = None,
        watching: Watching = ALERT,
        mending: float = MEND_EVERY,
        **settings: Any,
    ) -> AsyncIterator[Service]:
        """A worker for the registry; at the end of the block it drains."""
        ready = asyncio.Event()
        given = Settings(redis_url=self.url, **{"drain": 5.0, **settings})
        service = Service(
            given, self.registry, timing=timing, reconciling=reconciling, watching=watching, mending=mending
        )
        task = asyncio.create_task(service.serve(ready.set))
        try:
            await asyncio.wait_for(ready.wait(), 10)
            yield service
        finally:
            service.stop()
            await asyncio.wait_for(task, 20)

    async def events(self, job_id: str) -> list[Event]:
        return [decode(entry.wire) for entry in await self.journal.history(job_id)]

    async def kinds(self, job_id: str) -> list[str]:
        return [event.kind for event in await self.events(job_id)]

    async def ended(self, job_id: str, timeout: float = 10.0) -> list[Event]:
        """All events, once the last is terminal."""

        async def over() -> list[Event]:
            events = await self.events(job_id)
            return events if events and events[-1].terminal else []

        return await wait_until(over, timeout, f"the end of job {job_id}")

    async def seen(self, job_id: str, kind: str, timeout: float = 10.0) -> Event:
        async def there() -> Event | None:
            return next((event for event in await self.events(job_id) if event.kind == kind), None)

        found = await wait_until(there, timeout, f"{kind} of job {job_id}")
        assert found is not None
        return found

    async def bullmq(self, job_id: str, queue: str = "work") -> dict[str, str]:
        """What BullMQ has written down of the job."""
        return await self.client.hgetall(f"bull:{queue}:{job_id}")  # type: ignore[return-value]

    async def state(self, job_id: str, queue: str = "work") -> str:
        """In which of BullMQ's sets the job is."""
        for name in ("completed", "failed", "delayed"):
            if await self.client.zscore(f"bull:{queue}:{name}", job_id) is not None:
                return name
        for name in ("active", "wait"):
            if job_id in await self.client.lrange(f"bull:{queue}:{name}", 0, -1):
                return name
        return "nowhere"


@asynccontextmanager
async def bench_at(url: str) -> AsyncIterator[Bench]:
    client, commands = connect_for_bullmq(url, name="test"), connect(url, name="test")
    try:
        yield Bench(url, client, commands)
    finally:
        await client.aclose()
        await commands.aclose()


@pytest.fixture
async def bench(redis_url: str) -> AsyncIterator[Bench]:
    async with bench_at(redis_url) as bench:
        yield bench
