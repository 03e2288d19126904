"""examples/exchange_sync at work: a worker and a gateway on a Redis of their own, a database, an exchange."""

import asyncio
import itertools
import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from examples.exchange_sync import database
from examples.exchange_sync.database import Account
from examples.exchange_sync.exchange import Exchange, book, mood
from tests.support.processes import JobcastProcess
from tests.support.redis_server import RedisServer
from tests.support.waiting import free_port, wait_until

Event = tuple[str, dict[str, Any]]
SEED = 7
STARTED = "job-queue-to-start"
AT_ONCE = {"backoff": {"type": "fixed", "delay": 50}}
SETTINGS = {
    "JOBCAST_LOG_FORMAT": "json",
    "JOBCAST_HEALTH_EVERY": "1",
    "JOBCAST_ALERT_FAILED": "0",
    "JOBCAST_STUCK_AFTER": "0.5",
}
_number = itertools.count(1)


class System:
    """What runs, and the calls a test makes of it."""

    def __init__(
        self, redis: RedisServer, exchange: Exchange, worker: JobcastProcess, url: str, database_file: Path
    ) -> None:
        self.redis, self.exchange, self.worker = redis, exchange, worker
        self.http = httpx.Client(base_url=f"{url}/api/v1", timeout=10, trust_env=False)
        self._database = database_file

    def get(self, path: str, **query: Any) -> Any:
        return self.http.get(path, params=query).raise_for_status().json()

    def post(self, path: str, body: Any = None) -> Any:
        return self.http.post(path, json={} if body is None else body).raise_for_status().json()

    def submit(self, queue: str, name: str, data: object, opts: dict[str, Any] | None = None) -> str:
        body = {"queue": queue, "name": name, "data": msgspec.to_builtins(data), "opts": opts or {}}
        return str(self.post("/jobs", body)["jobId"])

    def sync(self, account: Account, **opts: Any) -> str:
        return self.submit("orders", "sync", account, {**AT_ONCE, **opts})

    def events(self, job_id: str) -> list[Event]:
        answer = self.http.get(f"/jobs/{job_id}/history")
        return [] if answer.status_code == 404 else [tuple(event) for event in answer.json()["events"]]

    async def ended(self, job_id: str, timeout: float = 20) -> list[Event]:
        """Every event of a job that is over."""

        def over() -> list[Event]:
            events = self.events(job_id)
            last, said = events[-1] if events else ("", {})
            return events if last == "job-completed" or (last == "job-failed" and said["final"]) else []

        return await wait_until(over, timeout, f"the end of job {job_id}")

    async def result(self, job_id: str) -> Any:
        last, said = (await self.ended(job_id))[-1]
        assert last == "job-completed", said
        return said["result"]

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self._database, timeout=10)) as db:
            return db.execute(query, values).fetchall()

    def account(self, *moods: str, key: str = "", premium: bool = False) -> Account:
        """A new account whose next requests the exchange meets in these moods, and six more in a fine one."""
        account = Account(f"u{next(_number)}", "alpha")
        wanted = [*moods, *["fine"] * 6] if moods else []
        keys = (f"{key}{account}-{n}" for n in itertools.count())
        found = next(key for key in keys if all(mood(SEED, key, n) == m for n, m in enumerate(wanted, start=1)))
        self.give(account, found, premium=premium)
        return account

    def give(self, account: Account, key: str, *, premium: bool = False) -> None:
        with database.connect() as db:
            database.put_account(db, account, key, premium=premium)

    def book(self, account: Account) -> list[dict[str, Any]]:
        ((key,),) = self.rows("SELECT api_key FROM exchange_accounts WHERE user = ?", account.user_id)
        return book(SEED, account.exchange, key, int(time.time() * 1000))

    def logged(self, event: str) -> list[dict[str, Any]]:
        lines = [line for line in self.worker.stderr.splitlines() if line.startswith("{") and line.endswith("}")]
        return [said for said in map(json.loads, lines) if said.get("event") == event]


def failures(events: list[Event]) -> list[dict[str, Any]]:
    return [said for kind, said in events if kind == "job-failed"]


@contextmanager
def running(redis_binary: Path, database_file: Path) -> Iterator[System]:
    """All of it, for the length of the block; this process has the database too."""
    with ExitStack() as stack:
        redis = RedisServer(redis_binary)
        stack.callback(redis.close)
        redis.start()
        exchange = stack.enter_context(Exchange(SEED))
        port = free_port()
        settings = {
            **SETTINGS,
            "JOBCAST_REDIS_URL": redis.url,
            "JOBCAST_EXAMPLE_DATABASE": str(database_file),
            "JOBCAST_EXAMPLE_EXCHANGE": exchange.url,
        }
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("JOBCAST_EXAMPLE_DATABASE", str(database_file))
        gateway = stack.enter_context(JobcastProcess("gateway", "--port", str(port), env=settings))
        module = ["--module", "examples.exchange_sync.jobs", "--no-shipped"]
        worker = stack.enter_context(JobcastProcess("worker", *module, env=settings))
        stack.callback(lambda: print(gateway.report, worker.report))
        system = System(redis, exchange, worker, f"http://127.0.0.1:{port}", database_file)
        stack.callback(system.http.close)

        async def ready() -> None:
            await gateway.ready(f"http://127.0.0.1:{port}")
            await worker.says("worker ready", 20)

        with asyncio.Runner() as runner:
            runner.run(ready())
        yield system
