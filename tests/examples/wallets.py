"""Wallet analysis at work: its worker processes and the stand-in for the chain, and jobs put to them."""

import asyncio
import os
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from examples.wallet_analysis import database, sample, stand_in
from examples.wallet_analysis.flows import Request
from examples.wallet_analysis.payloads import Rules
from jobcast import Producer
from jobcast.shared.events import JobCompleted, JobFailed
from tests.support.processes import ChildProcess, JobcastProcess, clean_environment
from tests.support.redis_server import RedisServer
from tests.support.waiting import free_port, wait_until
from tests.worker.conftest import Bench

WORKER = ("worker", "--module", "examples.wallet_analysis.jobs", "--no-shipped")


@contextmanager
def chain() -> Iterator[str]:
    """The stand-in for the chain as a process of its own; its URL."""
    port = free_port()
    command = [sys.executable, "-m", "examples.wallet_analysis.stand_in", str(port)]
    with ChildProcess(command, env=clean_environment()) as child:
        asyncio.run(child.says("listens on"))
        yield f"http://127.0.0.1:{port}"


@contextmanager
def surroundings(directory: Path) -> Iterator[None]:
    """A chain and an empty database, for this process and those it starts."""
    with pytest.MonkeyPatch.context() as patch, chain() as url:
        patch.setenv("EXAMPLE_CHAIN", url)
        patch.setenv("EXAMPLE_DATABASE", str(directory / "wallets.sqlite3"))
        yield


def given() -> dict[str, str]:
    """The surroundings, for processes that are started with no other settings of ours."""
    return {name: value for name, value in os.environ.items() if name.startswith("EXAMPLE_")}


def start_workers(redis: RedisServer, processes: int) -> JobcastProcess:
    """Close it when done with it."""
    env = {**given(), "JOBCAST_REDIS_URL": redis.url, "JOBCAST_DRAIN": "5"}
    return JobcastProcess(*WORKER, "--processes", str(processes), env=env)


async def ready(child: JobcastProcess, processes: int) -> None:
    """All of them take jobs: what their queues say of jobs stands in Redis."""
    await wait_until(lambda: child.stderr.count("worker ready") >= processes, 30, "the workers")


def ask(priority: str = "normal") -> Request:
    """A question nobody asked before."""
    return Request(uuid.uuid4().hex, time.time_ns() // 1_000_000, priority)


def wallet(begins: str = "") -> str:
    """A wallet no other test knows."""
    return sample.address(uuid.uuid4().int, begins)


async def submit(bench: Bench, node: dict[str, Any], **opts: Any) -> str:
    producer = Producer(bench.queues, bench.journal)
    return (await producer.submit_flow({**node, "opts": {**node["opts"], **opts}})).job_id


async def completed(bench: Bench, job_id: str, timeout: float = 15.0) -> Any:
    last = (await bench.ended(job_id, timeout))[-1]
    assert isinstance(last, JobCompleted), last
    return last.result


async def failed(bench: Bench, job_id: str, timeout: float = 15.0) -> str:
    last = (await bench.ended(job_id, timeout))[-1]
    assert isinstance(last, JobFailed), last
    return last.error


async def compared(bench: Bench, wallets: list[str], **rules: Any) -> str:
    with database.connected() as db:
        tree = ask().similarity(db, wallets, Rules(**rules))
    return await submit(bench, tree)


def stored(address: str) -> list[database.Trade]:
    with database.connected() as db:
        return database.trades_of(db, address)


def on_chain(address: str) -> list[database.Trade]:
    """What the stand-in tells of a wallet."""
    return [database.Trade(**{**each, "amount": int(each["amount"])}) for each in stand_in.trades(address)]
