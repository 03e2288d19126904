"""What a job costs that does nothing: jobcast's worker, and BullMQ's own in Python and on Node, on the same jobs.

All jobs are there before the worker starts, added as jobcast adds them: each has its `job-queued` in the journal,
whoever works. jobcast's worker then tells of each start and end, the others tell nobody. Counted is from the end of the
first tenth to that of the last job.
"""

import asyncio
import shutil
import sys
import time
from dataclasses import dataclass

import redis

from bench.machine import PEERS, Invalid, cpu_seconds
from jobcast.shared.bulk import MOST_AT_ONCE, NewJob
from jobcast.shared.journal import RedisJournal
from jobcast.shared.queue import JobQueues
from jobcast.shared.redis import connect, connect_for_bullmq
from tests.support.processes import ChildProcess, clean_environment
from tests.support.redis_server import RedisServer

QUEUE = "bench"
CONCURRENCY = (10, 100)
PATIENCE = 120.0
LOOK = 0.01
"""Seconds between two looks at how many are left: a hundredth of what the shortest case takes."""


@dataclass(frozen=True)
class Kind:
    """A worker that can be started."""

    key: str
    argv: tuple[str, ...]


OURS = Kind("jobcast", (sys.executable, "-m", "jobcast.cli", "worker", "--no-shipped", "--module", "bench.peers.noop"))
PYTHON = Kind("bullmq-python", (sys.executable, "-m", "bench.peers.bullmq_worker"))
NODE = Kind("bullmq-node", ("node", str(PEERS / "worker.js")))


def available() -> list[Kind]:
    """The workers that can run here: Node's only with Node and its packages."""
    node = shutil.which("node") and (PEERS / "node_modules" / "bullmq").is_dir()
    return [OURS, PYTHON, *([NODE] if node else [])]


def measure(server: RedisServer, kind: Kind, concurrency: int, jobs: int) -> dict[str, float]:
    """One worker on one backlog: time, CPU of its process and CPU of Redis for each job, in microseconds."""
    server.flush()
    asyncio.run(_add(server.url, jobs))
    with ChildProcess(kind.argv, env=_environment(server.url, concurrency)) as worker, server.client() as client:
        try:
            first = _when_left(client, worker, jobs * 9 // 10, server)
            last = _when_left(client, worker, 0, server)
        finally:
            worker.kill()
        failed = int(client.zcard(f"bull:{QUEUE}:failed"))
    if failed:
        raise Invalid(f"{failed} of {jobs} jobs failed: {worker.report[-2000:]}")
    name, done = f"work{concurrency}", first.left
    return {
        f"{name}.wall": (last.at - first.at) / done * 1e6,
        f"{name}.cpu": (last.worker - first.worker) / done * 1e6,
        f"{name}.redis": (last.redis - first.redis) / done * 1e6,
    }


@dataclass(frozen=True)
class _Look:
    left: int
    at: float
    worker: float
    redis: float


def _when_left(client: "redis.Redis", worker: ChildProcess, most: int, server: RedisServer) -> _Look:
    """The first look at which no more than ``most`` jobs are still to be done."""
    deadline = time.monotonic() + PATIENCE
    while True:
        left = int(client.llen(f"bull:{QUEUE}:wait")) + int(client.llen(f"bull:{QUEUE}:active"))
        if left <= most:
            return _Look(left, time.monotonic(), cpu_seconds(worker.pid), cpu_seconds(server.process.pid))
        if worker.exit_code is not None or time.monotonic() > deadline:
            raise Invalid(f"{left} jobs are left, and the worker {worker.report[-2000:]}")
        time.sleep(LOOK)


async def _add(url: str, jobs: int) -> None:
    commands, bullmq = connect(url, name="bench", joined=True), connect_for_bullmq(url, name="bench")
    queues = JobQueues(bullmq, RedisJournal(commands))
    try:
        for start in range(0, jobs, MOST_AT_ONCE):
            part = [NewJob("noop", {"n": n}) for n in range(start, min(start + MOST_AT_ONCE, jobs))]
            await queues.submit_many(QUEUE, part)
    finally:
        await commands.aclose()
        await bullmq.aclose()


def _environment(url: str, concurrency: int) -> dict[str, str]:
    return {
        **clean_environment(),
        "BENCH_REDIS_URL": url,
        "BENCH_CONCURRENCY": str(concurrency),
        "JOBCAST_REDIS_URL": url,
        "JOBCAST_CONCURRENCY": str(concurrency),
        "NODE_ENV": "production",
    }
