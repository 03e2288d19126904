"""Trading records: each point of system 1, with real workers, Redis and SQLite."""

import asyncio
import json
import logging
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from examples.trading_records.recorder import MORE_ATTEMPTS, QUEUE, Recorder
from examples.trading_records.records import Transaction
from examples.trading_records.sample import trades
from jobcast import Producer
from tests.conftest import StartJobcast
from tests.examples.system import System, running
from tests.support.processes import clean_environment
from tests.support.waiting import free_port, wait_until

MODULE = "examples.trading_records.jobs"
SNAPSHOT = "capture-balance-snapshot"
BUY, SELL, SWAP = next(trades())
AT_ONCE = {"backoff": {"type": "fixed", "delay": 20}}
ONE = "SELECT amount, price, fee, status FROM trading_transactions WHERE id = ?"


@pytest.fixture(scope="module")
def system(redis_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running(redis_binary, tmp_path_factory.mktemp("records"), MODULE) as system:
        yield system


@pytest.fixture
def own(redis_binary: Path, tmp_path: Path) -> Iterator[System]:
    """A system that the test may stop."""
    with running(redis_binary, tmp_path, MODULE) as system:
        yield system


async def send(system: System, data: Any, name: str = "write-transaction", **opts: Any) -> str:
    return await system.stack.submit(QUEUE, name, msgspec.to_builtins(data), **opts)


async def test_system_1_a_transaction_written_twice_is_once_and_its_newest_version_stands(system: System) -> None:
    newer = msgspec.structs.replace(BUY, id="tx-1", version=2, fee="0.003")
    older = msgspec.structs.replace(newer, version=1, status="pending")
    for record, stands in ((newer, True), (newer, True), (older, False)):
        assert await system.completed(await send(system, record)) == {"id": "tx-1", "stands": stands}
    assert system.rows(ONE, "tx-1") == [(BUY.amount, BUY.price, "0.003", "confirmed")]


async def test_system_1_a_closed_trade_keeps_every_digit_and_may_have_no_purchase_signal_or_reason(
    system: System,
) -> None:
    digits = {"amount": "123456789012345678.123456789123456789", "profit_usd": "-0.10000000000000000000000000001"}
    exact = msgspec.structs.replace(SWAP, id="swap-1", **digits)
    bare = msgspec.structs.replace(SWAP, id="swap-2", purchase_transaction=None, signal=None, close_reason=None)
    for record in (exact, bare):
        await system.completed(await send(system, record, "write-historical-swap"))
    columns = [field.name for field in msgspec.structs.fields(SWAP)]
    for record in (exact, bare):
        [row] = system.rows(f"SELECT {', '.join(columns)} FROM trading_swaps WHERE id = ?", record.id)
        assert type(SWAP)(**{**dict(zip(columns, row, strict=True)), **times(row, columns)}) == record


@pytest.mark.parametrize("number", [0.1, 5, "1e3", "0.1\n", "NaN"])
async def test_system_1_a_number_that_is_no_decimal_as_text_fails_at_once_and_is_not_written(
    system: System, number: object
) -> None:
    data = {**msgspec.to_builtins(BUY), "id": "tx-float", "price": number}
    assert "$.price" in await system.failed(await send(system, data))
    assert system.rows(ONE, "tx-float") == []


async def test_system_1_a_balance_snapshot_is_of_one_agent_or_of_all_of_them(system: System) -> None:
    add_agents(system)
    one = await send(system, {"agentId": "agent-1", "wallet": "wallet-1"}, SNAPSHOT)
    assert await system.completed(one) == {"wallets": 1}
    every = await send(system, {}, SNAPSHOT)
    assert await system.completed(every) == {"wallets": 3}
    assert captured(system, one) == ["wallet-1"]
    assert captured(system, every) == ["wallet-0", "wallet-1", "wallet-2"]
    stages = [said["stage"] for kind, said in await system.history(every) if kind == "job-progress"]
    assert stages[-1] == "agent-2"
    error = await system.failed(await send(system, {"agentId": "agent-1"}, SNAPSHOT))
    assert "expected agentId and wallet together, or neither" in error


async def test_system_1_a_wallet_that_cannot_be_read_keeps_no_other_from_being_captured(system: System) -> None:
    add_agents(system)
    system.change("INSERT INTO trading_agents VALUES ('agent-9', 'lost-wallet')")
    try:
        job = await send(system, {}, SNAPSHOT, attempts=2, **AT_ONCE)
        assert "not read: lost-wallet" in await system.failed(job)
    finally:
        system.change("DELETE FROM trading_agents WHERE id = 'agent-9'")
    assert captured(system, job) == ["wallet-0", "wallet-1", "wallet-2"], "twice is once"


async def test_system_1_the_hourly_snapshot_is_one_however_often_it_is_started_and_stopped(
    system: System, start_jobcast: StartJobcast
) -> None:
    async def listed() -> list[dict[str, int]]:
        run = start_jobcast("schedule", "list", QUEUE, "--json", env=system.env)
        assert await run.exited() == 0, run.report
        return [{"every": each["repeat"]["every"]} for each in map(json.loads, run.stdout.splitlines())]

    assert await listed() == [{"every": 3_600_000}]
    async with system.another_worker(MODULE):
        assert await listed() == [{"every": 3_600_000}]
        waiting = await system.counts(QUEUE)
        assert waiting["delayed"] == 1, "the next hour's"
    for _ in range(2):
        run = start_jobcast("schedule", "remove", QUEUE, "hourly-snapshot", env=system.env)
        await run.exited()
    assert await listed() == []
    assert (await system.counts(QUEUE))["delayed"] == 0
    async with system.another_worker(MODULE):
        assert await listed() == [{"every": 3_600_000}]


async def test_system_1_a_trade_goes_on_when_it_cannot_be_recorded_and_the_log_has_it_whole(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Producer.connect("redis://127.0.0.1:1") as jobs:
        with caplog.at_level(logging.ERROR, "recorder"):
            assert await Recorder(jobs).record(BUY) is None
    [line] = caplog.messages
    said = line[line.index("{") :]
    assert msgspec.json.decode(said, type=Transaction) == BUY


async def test_system_1_a_failing_record_blocks_no_other_and_is_tried_three_times_ever_later(system: System) -> None:
    """The database refuses one id, by a trigger; the failures are told live, and the job stays to be looked at."""
    system.change(
        "CREATE TRIGGER no_luck BEFORE INSERT ON trading_transactions WHEN new.id = 'tx-bad' "
        "BEGIN SELECT raise(ABORT, 'no luck'); END",
    )
    definition = system.definition(QUEUE)
    assert (definition["concurrency"], definition["attempts"]) == (5, 3)
    assert definition["backoff"]["type"] == "exponential"
    bad = await send(system, msgspec.structs.replace(BUY, id="tx-bad"))
    good = [await send(system, msgspec.structs.replace(BUY, id=f"tx-good-{number}")) for number in range(10)]
    for job in good:
        await system.completed(job)
    assert "no luck" in await system.failed(bad)
    failures = [said for kind, said in await system.history(bad) if kind == "job-failed"]
    assert [said["final"] for said in failures] == [False, False, True]
    waits = [said["retryAt"] - said["timestamp"] for said in failures[:2]]
    assert waits == [500, 1000]
    assert (await system.counts(QUEUE))["failed"] >= 1
    found = await system.get(f"/api/v1/queues/{QUEUE}/jobs?state=failed")
    assert bad in [job["id"] for job in found["jobs"]]


async def test_system_1_a_job_may_ask_for_five_attempts_from_one_second(system: System) -> None:
    async with Producer.connect(system.redis.url) as jobs:
        job = await Recorder(jobs).record(msgspec.structs.replace(SWAP, id="swap-5"), MORE_ATTEMPTS)
    assert job is not None
    await system.completed(job)
    [queued] = [said for kind, said in await system.history(job) if kind == "job-queued"]
    assert queued["maxAttempts"] == 5
    with system.redis.client() as client:
        opts = json.loads(client.hget(f"bull:{QUEUE}:{job}", "opts") or "{}")
    assert (opts["backoff"]["type"], opts["backoff"]["delay"]) == ("exponential", 1000)


async def test_system_1_a_worker_that_is_stopped_ends_what_it_writes_and_then_lets_go(own: System) -> None:
    with own.busy():
        job = await send(own, msgspec.structs.replace(BUY, id="tx-last"))
        await wait_until(lambda: is_active(own, job), 10, "the job to be at work")
        own.worker.signal(signal.SIGTERM)
        await own.worker.says("worker stops")
    assert await own.worker.exited(20) == 0
    assert own.rows(ONE, "tx-last") != []
    assert (await own.stack.job(job))["status"] == "completed", "told before its client was closed"


async def test_system_1_a_worker_that_is_killed_leaves_each_record_written_once(system: System) -> None:
    async with system.another_worker(MODULE) as worker:
        async with Producer.connect(system.redis.url) as jobs:
            many = [msgspec.structs.replace(SELL, id=f"tx-many-{number}") for number in range(300)]
            added = await jobs.submit_many(
                QUEUE, [{"name": "write-transaction", "data": msgspec.to_builtins(each)} for each in many]
            )
        await wait_until(lambda: written(system) >= 20, 20, "some to be written")
        worker.kill()
    for job in added:
        await system.completed(job.job_id)
    assert written(system) == 300


async def test_the_sample_does_what_the_readme_says(start_jobcast: StartJobcast, tmp_path: Path) -> None:
    port = free_port()
    env = {"EXAMPLE_DATABASE": str(tmp_path / "records.sqlite3"), "JOBCAST_URL": f"http://127.0.0.1:{port}"}
    up = start_jobcast("up", "--module", MODULE, "--port", str(port), "--data", str(tmp_path / "data"), env=env)
    await up.says("up at", 30)
    redis = re.search(r"Redis: (\S+)", up.stdout)
    assert redis is not None
    sample = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "examples.trading_records.sample"],
        env={**clean_environment(), **env, "JOBCAST_REDIS_URL": redis[1]},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert sample.returncode == 0, sample.stderr
    assert sample.stdout.startswith("60 records and a snapshot of 3 agents")
    said = re.search(r"jobcast (tail \S+)", sample.stdout)
    assert said is not None
    tail = start_jobcast(*said[1].split(), env=env)
    assert await tail.exited(20) == 0, tail.report
    assert "job-completed" in tail.stdout


def add_agents(system: System) -> None:
    for number in range(3):
        whose = f"agent-{number}", f"wallet-{number}"
        system.change("INSERT INTO trading_agents VALUES (?, ?) ON CONFLICT DO NOTHING", *whose)


def times(row: tuple[Any, ...], columns: list[str]) -> dict[str, datetime]:
    found = dict(zip(columns, row, strict=True))
    return {name: datetime.fromisoformat(found[name]) for name in ("purchased_at", "sold_at")}


def captured(system: System, job: str) -> list[str]:
    rows = system.rows("SELECT DISTINCT wallet FROM trading_balances WHERE job = ? ORDER BY wallet", job)
    return [wallet for (wallet,) in rows]


def written(system: System) -> int:
    [(count,)] = system.rows("SELECT count(*) FROM trading_transactions WHERE id LIKE 'tx-many-%'")
    return int(count)


async def is_active(system: System, job: str) -> bool:
    return bool((await system.stack.job(job))["status"] == "active")
