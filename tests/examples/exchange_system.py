"""examples/exchange_sync at work: a worker and a gateway on a Redis of their own, a database, an exchange."""

import itertools
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from examples.exchange_sync import database
from examples.exchange_sync.database import Account
from examples.exchange_sync.exchange import Exchange, book, mood
from tests.examples import system
from tests.support.waiting import wait_until

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

    def __init__(self, base: system.System, http: httpx.Client) -> None:
        self.redis, self.worker, self.rows, self.http = base.redis, base.worker, base.rows, http

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
def running(redis_binary: Path, directory: Path) -> Iterator[System]:
    """All of it, for the length of the block; this process has the database too."""
    with Exchange(SEED) as exchange, pytest.MonkeyPatch.context() as patch:
        path = str(directory / "examples.sqlite3")
        env = {**SETTINGS, "EXAMPLE_DATABASE": path, "EXAMPLE_EXCHANGE": exchange.url}
        patch.setenv("EXAMPLE_DATABASE", path)
        with (
            system.running(redis_binary, directory, "examples.exchange_sync.jobs", env) as base,
            httpx.Client(base_url=f"{base.stack.url}/api/v1", timeout=10, trust_env=False) as http,
        ):
            yield System(base, http)
