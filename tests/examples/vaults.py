"""examples/copy_trading at work: a gateway and a worker on a Redis of their own, a database, events of a chain."""

import asyncio
import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec

from examples.copy_trading.events import QUEUES, Deposited, Event, Traded, VaultCreated, Withdrawn
from tests.e2e.conftest import Stack
from tests.support.processes import JobcastProcess
from tests.support.redis_server import RedisServer
from tests.support.waiting import free_port

WORKER = ("worker", "--module", "examples.copy_trading.jobs", "--no-shipped")


def address() -> str:
    return f"0x{os.urandom(20).hex()}"


def place(block: int = 1) -> dict[str, Any]:
    """A transaction that is no other test's."""
    return {"block": block, "log_index": 0, "transaction_hash": f"0x{os.urandom(32).hex()}"}


def vault_of(leader: str) -> VaultCreated:
    return VaultCreated(**place(), address=address(), leader=leader, name="Tortoise")


def trade_of(vault: str, before: int, after: int, block: int = 1) -> Traded:
    return Traded(
        **place(block),
        vault=vault,
        token_in=address(),
        token_out=address(),
        amount_in="5",
        amount_out="7",
        value_before=str(before),
        value_after=str(after),
    )


def deposit_of(vault: str, follower: str, amount: int) -> Deposited:
    return Deposited(**place(), vault=vault, follower=follower, amount=str(amount))


def withdrawal_of(vault: str, follower: str, amount: int) -> Withdrawn:
    return Withdrawn(**place(), vault=vault, follower=follower, amount=str(amount))


class System:
    """What runs, and the calls a test makes of it."""

    def __init__(self, redis: RedisServer, stack: Stack, database: Path) -> None:
        self.stack = stack
        self._redis = redis
        self._database = database

    async def send(self, event: Event, **opts: Any) -> str:
        """Add the job of an event, under an id of its own: told twice, an event is two jobs."""
        queue, name = QUEUES[type(event)]
        return await self.stack.submit(queue, name, msgspec.to_builtins(event), **opts)

    async def done(self, *events: Event) -> list[Any]:
        """The results of their jobs, which were all added before the first was waited for."""
        return [await self.completed(job_id) for job_id in [await self.send(event) for event in events]]

    async def completed(self, job_id: str) -> Any:
        job = await self.stack.finished(job_id)
        assert job["status"] == "completed", job
        return job["result"]

    async def vault(self) -> str:
        """The address of a new vault."""
        event = vault_of(address())
        await self.done(event)
        return event.address

    async def snapshots(self, *trades: Traded) -> None:
        """Record trades one after the other, and wait until each was followed by its snapshot."""
        for trade in trades:
            [result] = await self.done(trade)
            await self.completed(result["snapshot"])

    async def history(self, job_id: str) -> list[tuple[str, dict[str, Any]]]:
        async with httpx.AsyncClient(base_url=self.stack.url, trust_env=False) as http:
            events = (await http.get(f"/api/v1/jobs/{job_id}/history")).raise_for_status().json()["events"]
        return [(kind, said) for kind, said in events]

    async def counts(self, queue: str) -> dict[str, int]:
        async with httpx.AsyncClient(base_url=self.stack.url, trust_env=False) as http:
            found: dict[str, int] = (await http.get(f"/api/v1/queues/{queue}")).raise_for_status().json()["counts"]
        return found

    def definition(self, queue: str) -> dict[str, str]:
        """How the queue is worked, as its worker has told everybody."""
        with self._redis.client() as client:
            return dict(client.hgetall(f"jobcast:queue:{{{queue}}}:definition"))

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        return rows(self._database, query, *values)

    def subscribed(self, vault: str, follower: str) -> list[str]:
        query = "SELECT amount FROM copy_subscriptions WHERE vault = ? AND follower = ?"
        return [amount for (amount,) in self.rows(query, vault, follower)]

    @contextmanager
    def busy(self) -> Iterator[None]:
        """For the length of the block no job can write."""
        with busy(self._database):
            yield


def rows(database: Path, query: str, *values: object) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(database, timeout=10)) as db:
        return db.execute(query, values).fetchall()


@contextmanager
def busy(database: Path) -> Iterator[None]:
    with closing(sqlite3.connect(database, timeout=10, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            db.execute("ROLLBACK")


@contextmanager
def running(redis_binary: Path, directory: Path) -> Iterator[System]:
    """All of it, for the length of the block."""
    with ExitStack() as stack:
        redis = RedisServer(redis_binary)
        stack.callback(redis.close)
        redis.start()
        url = f"http://127.0.0.1:{(port := free_port())}"
        database = directory / "vaults.sqlite3"
        env = {"JOBCAST_REDIS_URL": redis.url, "EXAMPLE_DATABASE": str(database), "JOBCAST_DRAIN": "5"}
        gateway = stack.enter_context(JobcastProcess("gateway", "--port", str(port), env=env))
        worker = stack.enter_context(JobcastProcess(*WORKER, env=env))
        stack.callback(lambda: print(gateway.report, worker.report))

        async def ready() -> None:
            await gateway.ready(url)
            await worker.says("worker ready", 20)

        with asyncio.Runner() as runner:
            runner.run(ready())
        yield System(redis, Stack(url, redis.url, directory), database)
