"""Copy-trading vaults as processes: killed in the middle, and run as the README says."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from examples.copy_trading.events import Deposited, Event, Traded, Withdrawn, job_of
from examples.copy_trading.sample import COIN, history
from jobcast import Producer
from tests.conftest import StartJobcast, StartRedis
from tests.examples.system import busy, rows
from tests.examples.vaults import WORKER, address, deposit_of, trade_of, vault_of
from tests.support.processes import REPOSITORY, clean_environment
from tests.support.waiting import free_port, wait_until


async def test_system_5_what_a_killed_worker_had_stored_counts_once_and_what_it_had_left_is_done(
    start_jobcast: StartJobcast, start_redis: StartRedis, tmp_path: Path
) -> None:
    redis, database = start_redis(appendonly=True), tmp_path / "vaults.sqlite3"
    env = {"JOBCAST_REDIS_URL": redis.url, "EXAMPLE_DATABASE": str(database)}
    vault, follower = vault_of(address()), address()
    trade, deposit = trade_of(vault.address, 100, 120), deposit_of(vault.address, follower, 10**20)

    async def send(event: Event) -> tuple[str, str]:
        queue, each = job_of(event)
        async with Producer.connect(redis.url) as jobs:
            return queue, (await jobs.submit(queue, each["name"], each["data"], each["opts"])).job_id

    def is_in(state: str, *jobs: tuple[str, str]) -> bool:
        with redis.client() as client:
            return all(client.hget(f"jobcast:{{{job_id}}}:state", "state") == state for _, job_id in jobs)

    def stored() -> bool:
        return all(rows(database, f"SELECT 1 FROM {table}") for table in ("copy_trades", "copy_subscriptions"))

    first = start_jobcast(*WORKER, env=env)
    await first.says("worker ready", 20)
    created = await send(vault)
    await wait_until(lambda: is_in("completed", created), 20, "the vault")
    with busy(database):
        recorded, deposited = await send(trade), await send(deposit)
        await wait_until(lambda: is_in("active", recorded, deposited), 20, "both at the database's door")
        redis.kill()
    await wait_until(stored, 20, "both stored")
    first.kill()  # before it could tell anybody, or ask for a snapshot
    redis.start()
    await start_jobcast(*WORKER, env=env).says("worker ready", 20)
    snapshot = ("snapshot", f"snapshot-{trade.transaction_hash}")
    await wait_until(lambda: is_in("completed", recorded, deposited, snapshot), 60, "the jobs, run again")
    assert rows(database, "SELECT count(*) FROM copy_trades") == [(1,)]
    assert rows(database, "SELECT amount FROM copy_subscriptions") == [(str(10**20),)]
    assert rows(database, "SELECT value, roi FROM copy_vaults") == [("120", "0.200000")]


def run(program: str, **env: str) -> str:
    """What ``python -m examples.copy_trading.<program>`` says."""
    command = [sys.executable, "-m", f"examples.copy_trading.{program}"]
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**clean_environment(), **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def values() -> list[str]:
    """What the vaults of the sample are worth in the end, in whole coins."""
    last = {event.vault: event for event in history() if isinstance(event, Traded)}
    return [str(int(trade.value_after) // COIN) for trade in last.values()]


def subscriptions() -> list[str]:
    """What its followers have in them in the end, in whole coins."""
    held: Counter[tuple[str, str]] = Counter()
    for event in history():
        if isinstance(event, Deposited | Withdrawn):
            change = int(event.amount) if isinstance(event, Deposited) else -int(event.amount)
            held[event.vault, event.follower] += change
    return [str(amount // COIN) for amount in held.values() if amount]


@pytest.mark.skipif(sys.platform != "linux", reason="children are tied to our life by Linux' prctl")
@pytest.mark.usefixtures("redis_binary")
async def test_the_readme_s_commands_run_it_whole(start_jobcast: StartJobcast, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{(port := free_port())}"
    database = {"EXAMPLE_DATABASE": str(tmp_path / "vaults.sqlite3")}
    up = start_jobcast(
        *("up", "--port", str(port), "--data", str(tmp_path / "data"), "--module", "examples.copy_trading.jobs"),
        env=database,
    )
    await up.says("up at", 30)
    [redis_url] = re.findall(r"^Redis: (.*)$", up.stdout, re.MULTILINE)
    said = run("sample", JOBCAST_REDIS_URL=redis_url)
    [last_trade] = re.findall(r"jobcast tail (\S+)", said)
    assert await start_jobcast("tail", last_trade, env={"JOBCAST_URL": url}).exited(30) == 0

    async with httpx.AsyncClient(base_url=f"{url}/api/v1", trust_env=False) as http:

        async def all_completed() -> bool:
            queues: list[dict[str, Any]] = (await http.get("/queues")).json()["queues"]
            counts = {each["name"]: each["counts"]["completed"] for each in queues}
            return counts.items() >= {"vault": 4, "follower": 29, "trade": 108, "snapshot": 90}.items()

        await wait_until(all_completed, 30, "the end of all jobs")
    report = run("report", **database)
    assert len(re.findall("ACTIVE, 30 trades", report)) == 3
    assert sorted(re.findall(r"value (\d+), ", report)) == sorted(values())
    assert sorted(re.findall(r"put in (\d+)$", report, re.MULTILINE)) == sorted(subscriptions())
    run("sample", JOBCAST_REDIS_URL=redis_url)
    assert run("report", **database) == report
