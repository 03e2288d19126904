"""System 3 as it is run: in a program of one's own, as that program, and by the commands of the README."""

import asyncio
import json
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from examples.market.database import Backup, Database
from examples.market.payloads import ResolveMarket, VerifyBackup, job_for
from examples.market.receiver import Receiver
from examples.market.registry import QUEUES, registry
from examples.market.sample import add_backup, fill
from examples.market.services import BackupBroken, Services
from jobcast import Producer, Worker
from tests.conftest import StartJobcast
from tests.examples.market import SECRET, add_endpoint, add_market, new
from tests.examples.system import rows
from tests.support.processes import ChildProcess, clean_environment
from tests.support.waiting import free_port, wait_until

NOW = 1_700_000_000_000


class Holding:
    """A verifier that holds what it is given until it is let go, and finds one backup broken."""

    def __init__(self) -> None:
        self.held: list[str] = []
        self.let_go = threading.Event()

    def __call__(self, backup: Backup) -> None:
        self.held.append(backup.id)
        assert self.let_go.wait(20)
        if backup.id == "bad":
            raise BackupBroken("by the verifier that was given")


@pytest.fixture
def database(tmp_path: Path) -> Database:
    database = Database(tmp_path / "examples.sqlite3")
    database.create()
    return database


@pytest.fixture
def verifier() -> Iterator[Holding]:
    verifier = Holding()
    yield verifier
    verifier.let_go.set()


@pytest.fixture
def services(database: Database, verifier: Holding) -> Iterator[Services]:
    with httpx.Client(trust_env=False) as http:
        yield Services(database, http, verifier, now=lambda: NOW)


async def test_system_3_services_and_concurrency_are_given(
    redis_url: str, services: Services, verifier: Holding
) -> None:
    market = add_market(services.database)
    three = [replace(each, concurrency=3) for each in QUEUES]
    async with Worker(registry(services, three), redis_url=redis_url), Producer.connect(redis_url) as jobs:
        for backup in ("bad", "good", "fine", "late"):
            add_backup(services.database, backup)
            await jobs.submit(*job_for(VerifyBackup(backup)))
        await jobs.submit(*job_for(ResolveMarket(market)))
        resolved = "SELECT resolved_at FROM markets WHERE id = ?"
        path = services.database.path
        await wait_until(lambda: rows(path, resolved, market) == [(NOW,)], 10, "the time of the clock that was given")
        await wait_until(lambda: len(verifier.held) == 3, 10, "three at once")
        verifier.let_go.set()
        verified = "SELECT id, fault FROM backups WHERE verified_at = ? ORDER BY id"
        found = await wait_until(lambda: len(all_ := rows(path, verified, NOW)) == 4 and all_, 10, "the verdicts")
    assert found == [("bad", "by the verifier that was given"), ("fine", None), ("good", None), ("late", None)]


async def test_system_3_started_twice_is_started_once_and_stop_drains_what_is_in_flight(
    redis_url: str, services: Services, verifier: Holding
) -> None:
    backups = [new("backup") for _ in range(2)]
    worker = Worker(registry(services), redis_url=redis_url)
    await asyncio.gather(worker.start(), worker.start())
    await worker.start()
    with redis.Redis.from_url(redis_url) as client:
        assert [each["name"] for each in client.client_list()].count("jobcast-heartbeat") == 1
    async with Producer.connect(redis_url) as jobs:
        for backup in backups:
            add_backup(services.database, backup)
            await jobs.submit(*job_for(VerifyBackup(backup)))
    await wait_until(lambda: verifier.held, 10, "a verification")
    stopping = asyncio.create_task(worker.stop())
    await asyncio.sleep(0.3)
    assert not stopping.done()
    verifier.let_go.set()
    await stopping
    assert rows(services.database.path, "SELECT id FROM backups WHERE verified_at = ?", NOW) == [(backups[0],)]
    assert verifier.held == backups[:1], "the second is left for another worker"
    assert completed(redis_url, "backup-verification") == [f"verify-{backups[0]}"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_system_3_it_begins_once_the_database_is_there_and_a_signal_drains_what_is_in_flight(
    redis_url: str, tmp_path: Path, children: ExitStack, number: signal.Signals
) -> None:
    database = Database(tmp_path / "later" / "examples.sqlite3")
    env = {"JOBCAST_REDIS_URL": redis_url, "EXAMPLE_DATABASE": str(database.path)}
    receiver = children.enter_context(Receiver(SECRET))
    program = start(children, "examples.market", env)
    await program.says("waiting for the database")
    with redis.Redis.from_url(redis_url) as client:
        assert "jobcast-worker" not in [each["name"] for each in client.client_list()]
    database.path.parent.mkdir()
    await program.says("back end is ready", 20)

    add_endpoint(database, "slow", f"{receiver.url}/slow")
    market = add_market(database)
    async with Producer.connect(redis_url) as jobs:
        await jobs.submit(*job_for(ResolveMarket(market)))
    await wait_until(receiver.slow_began.is_set, 20, "a webhook in flight")
    program.signal(number)
    await program.says("worker stops")
    assert program.exit_code is None
    receiver.answer_slow.set()
    assert await program.exited(20) == 0
    assert rows(database.path, "SELECT status, attempts FROM webhook_deliveries") == [("delivered", 1)]
    assert len(receiver.posts) == 1
    assert completed(redis_url, "webhook-deliveries") == [f"deliver-{market}-slow"]


def test_system_3_sample_data_that_is_there_stays_as_it_is(database: Database) -> None:
    fill(database, "http://127.0.0.1:1")
    database.record_verification("broken-7", NOW, "cut off")
    files = {path: path.read_bytes() for path in database.path.parent.glob("*-7.sqlite3")}
    fill(database, "http://127.0.0.1:1")
    found = "SELECT id, verified_at, fault FROM backups ORDER BY id"
    assert rows(database.path, found) == [("broken-7", NOW, "cut off"), ("whole-7", None, None)]
    assert {path: path.read_bytes() for path in files} == files
    assert len(files) == 2


async def test_system_3_a_setting_that_is_wrong_is_one_sentence(tmp_path: Path, children: ExitStack) -> None:
    env = {"JOBCAST_DRAIN": "-1", "EXAMPLE_DATABASE": str(tmp_path / "examples.sqlite3")}
    program = start(children, "examples.market", env)
    assert await program.exited(20) == 1
    assert program.stderr == "market: expected JOBCAST_DRAIN from 0, got -1.0\n"


async def test_system_3_the_commands_of_its_readme_run_it_whole(
    tmp_path: Path, children: ExitStack, start_jobcast: StartJobcast
) -> None:
    url = f"http://127.0.0.1:{(port := free_port())}"
    receiver = children.enter_context(Receiver())
    env = {
        "JOBCAST_URL": url,
        "EXAMPLE_DATABASE": str(tmp_path / "examples.sqlite3"),
        "EXAMPLE_RECEIVER": receiver.url,
        "EXAMPLE_FIRST_WAIT": "0.05",
    }
    data, module = str(tmp_path / "data"), "examples.market.jobs"
    up = start_jobcast("up", "--module", module, "--no-shipped", "--port", str(port), "--data", data, env=env)
    await up.says("up at", 30)
    address = next(line.split()[-1] for line in up.stdout.splitlines() if line.startswith("Redis: "))
    for again in (False, True):
        run = start(children, "examples.market.sample", {**env, "JOBCAST_REDIS_URL": address})
        assert await run.exited(20) == 0, run.report
        assert run.stdout.count("(it was there already)") == (4 if again else 0)
    asked = "resolve-rain-7", "verify-whole-7", "verify-broken-7", "reconcile-asked-7"
    webhooks = "deliver-rain-7-fine", "deliver-rain-7-flaky", "deliver-rain-7-broken"
    with httpx.Client(base_url=f"{url}/api/v1", trust_env=False) as http:
        ended = [await outcome(http, job) for job in (*asked, *webhooks)]
    assert ended == ["completed", "completed", "failed", "completed", "completed", "completed", "failed"]
    tail = start_jobcast("tail", "resolve-rain-7", "--json", env=env)
    assert await tail.exited(20) == 0
    assert json.loads(tail.stdout.splitlines()[-1])["event"] in {"job-completed", "job-snapshot"}


def completed(redis_url: str, queue: str) -> list[str]:
    """What BullMQ counts as completed."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        found: list[str] = client.zrange(f"bull:{queue}:completed", 0, -1)
    return found


async def outcome(http: httpx.Client, job: str) -> Any:
    def look() -> Any:
        found = http.get(f"/jobs/{job}").json().get("status")
        return found in {"completed", "failed"} and found

    return await wait_until(look, 30, f"the end of {job}")


def start(children: ExitStack, module: str, env: dict[str, str]) -> ChildProcess:
    child = children.enter_context(ChildProcess([sys.executable, "-m", module], env={**clean_environment(), **env}))
    children.callback(lambda: print(child.report))
    return child
