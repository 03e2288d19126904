"""A system of examples/ at work: a gateway and a worker on a Redis of their own, and the database they write."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.conftest import Stack
from tests.support.processes import JobcastProcess
from tests.support.redis_server import RedisServer
from tests.support.waiting import free_port


@dataclass(frozen=True)
class System:
    """What runs, and the calls a test makes of it. ``env``: for whatever else is to join it."""

    stack: Stack
    redis: RedisServer
    database: Path
    worker: JobcastProcess
    env: Mapping[str, str]

    async def completed(self, job_id: str) -> Any:
        """The result of the job, once it has one."""
        job = await self.stack.finished(job_id)
        assert job["status"] == "completed", job
        return job["result"]

    async def failed(self, job_id: str) -> str:
        """The error the job failed with for good."""
        job = await self.stack.finished(job_id)
        assert job["status"] == "failed", job
        return str(job["error"])

    async def get(self, path: str) -> Any:
        async with httpx.AsyncClient(base_url=self.stack.url, trust_env=False) as http:
            return (await http.get(path)).raise_for_status().json()

    async def history(self, job_id: str) -> list[tuple[str, dict[str, Any]]]:
        return [(kind, said) for kind, said in (await self.get(f"/api/v1/jobs/{job_id}/history"))["events"]]

    async def counts(self, queue: str) -> dict[str, int]:
        found: dict[str, int] = (await self.get(f"/api/v1/queues/{queue}"))["counts"]
        return found

    def definition(self, queue: str) -> dict[str, Any]:
        """How the queue is worked, as its worker has told everybody."""
        with self.redis.client() as client:
            found = client.hgetall(f"jobcast:queue:{{{queue}}}:definition")
        return {str(name): json.loads(value) for name, value in found.items()}

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        return rows(self.database, query, *values)

    def change(self, statement: str, *values: object) -> None:
        with closing(sqlite3.connect(self.database, timeout=10)) as db, db:
            db.execute(statement, values)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """For the length of the block no job can write."""
        with busy(self.database):
            yield

    @asynccontextmanager
    async def another_worker(self, module: str, **env: str) -> AsyncIterator[JobcastProcess]:
        with JobcastProcess("worker", "--module", module, "--no-shipped", env={**self.env, **env}) as worker:
            await worker.says("worker ready", 20)
            yield worker


def rows(database: Path, query: str, *values: object) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(database, timeout=10)) as db:
        return db.execute(query, values).fetchall()


@contextmanager
def busy(database: Path) -> Iterator[None]:
    """For the length of the block nobody else can write."""
    with closing(sqlite3.connect(database, timeout=10, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            db.execute("ROLLBACK")


@contextmanager
def running(redis_binary: Path, directory: Path, module: str, env: Mapping[str, str] | None = None) -> Iterator[System]:
    """All of it, for the length of the block; ``module`` has the jobs."""
    with ExitStack() as stack:
        redis = RedisServer(redis_binary)
        stack.callback(redis.close)
        redis.start()
        url = f"http://127.0.0.1:{(port := free_port())}"
        database = directory / "examples.sqlite3"
        given = {
            "JOBCAST_REDIS_URL": redis.url,
            "JOBCAST_URL": url,
            "JOBCAST_DRAIN": "5",
            "EXAMPLE_DATABASE": str(database),
            **(env or {}),
        }
        gateway = stack.enter_context(JobcastProcess("gateway", "--port", str(port), env=given))
        worker = stack.enter_context(JobcastProcess("worker", "--module", module, "--no-shipped", env=given))
        stack.callback(lambda: print(gateway.report, worker.report))

        async def ready() -> None:
            await gateway.ready(url)
            await worker.says("worker ready", 20)

        with asyncio.Runner() as runner:
            runner.run(ready())
        yield System(Stack(url, redis.url, directory), redis, database, worker, given)
