"""Workers killed at random every 2 s and started again: every job ends once, and of every death is told in time.

``python -m tests.soak.killing [--seed 7] [--jobs 1000]``. With ``--alive SECONDS`` nobody is killed: loops and threads
are blocked, Redis is slow or hangs, and everything is stopped and goes on; then no job may be told as stalled.
"""

import argparse
import asyncio
import contextlib
import random
import sqlite3
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
from redis.asyncio import Redis

from jobcast.shared.errors import Unavailable
from jobcast.shared.journal import RedisJournal
from jobcast.shared.keys import Keys
from jobcast.shared.options import JobOptions
from jobcast.shared.queue import JobQueues
from jobcast.shared.redis import connect, connect_for_bullmq
from tests.gateway.support import GatewayProcess, until_ready
from tests.soak.killed_jobs import QUEUE
from tests.soak.stage import NO_REDIS, Figures, run
from tests.support.parts import find_redis
from tests.support.processes import JobcastProcess
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

WORKERS: Final = 4
KILL_EVERY: Final = 2.0
STALLED_WITHIN: Final = 10.0
VERDICT_WITHIN: Final = 30.0
ENDED_WITHIN: Final = 240.0
ENDS: Final = {"job-completed", "job-cancelled"}


@dataclass
class Told:
    """An event as it was published, and when it was heard (monotonic)."""

    at: float
    kind: str
    payload: dict[str, Any]

    @property
    def ends_job(self) -> bool:
        return self.kind in ENDS or (self.kind == "job-failed" and self.payload["final"])


@dataclass
class Death:
    """Jobs a worker had begun and not ended when it was killed, each with the number of its last event."""

    at: float
    held: dict[str, int]


@dataclass
class Heard:
    """Every event of the queue, by job."""

    jobs: defaultdict[str, list[Told]] = field(default_factory=lambda: defaultdict(list))
    deaths: list[Death] = field(default_factory=list)

    def held_by(self, pid: int) -> dict[str, int]:
        held = {}
        for job_id, told in self.jobs.items():
            starts = [each for each in told if each.kind == "job-queue-to-start"]
            last = told[-1]
            is_running = starts and last.kind not in {"job-completed", "job-failed", "job-stalled"}
            if is_running and starts[-1].payload["worker"].split(":")[1] == str(pid):
                held[job_id] = last.payload["seq"]
        return held

    def ended(self) -> int:
        return sum(told[-1].ends_job for told in self.jobs.values())


class House:
    """A Redis, a gateway, workers, and an ear on the queue's channel."""

    def __init__(
        self, server: RedisServer, gateway: GatewayProcess, database: Path, stack: contextlib.ExitStack
    ) -> None:
        self.server = server
        self.gateway = gateway
        self.heard = Heard()
        self.database = database
        self._stack = stack
        self.workers = [self.start() for _ in range(WORKERS)]

    def start(self) -> JobcastProcess:
        env = {"JOBCAST_REDIS_URL": self.server.url, "KILLING_DATABASE": str(self.database), "JOBCAST_DRAIN": "1"}
        return self._stack.enter_context(
            JobcastProcess("worker", "--module", "tests.soak.killed_jobs", "--no-shipped", env=env)
        )

    async def listen(self, client: Redis) -> None:
        async with client.pubsub() as ear:
            await ear.subscribe(Keys().queue_channel(QUEUE))
            async for message in ear.listen():
                if message["type"] == "message":
                    kind, payload = msgspec.json.decode(message["data"])
                    self.heard.jobs[payload["jobId"]].append(Told(time.monotonic(), kind, payload))

    def kill_one(self, chance: random.Random) -> None:
        at = chance.randrange(WORKERS)
        victim = self.workers[at]
        victim.kill()
        # Events that are on their way still count as before it.
        self.heard.deaths.append(Death(time.monotonic(), self.heard.held_by(victim.pid)))
        self.workers[at] = self.start()

    def pause(self) -> None:
        for each in (*self.workers, self.gateway):
            each.pause()
        self.server.pause()

    def resume(self) -> None:
        self.server.resume()
        for each in (self.gateway, *self.workers):
            each.resume()


@contextlib.asynccontextmanager
async def house(binary: Path) -> AsyncIterator[tuple[House, JobQueues]]:
    server = RedisServer(binary)
    with tempfile.TemporaryDirectory(prefix="jobcast-killing-") as directory, contextlib.ExitStack() as stack:
        stack.callback(server.close)
        server.start()
        database = Path(directory, "effects.db")
        with sqlite3.connect(database) as made:
            made.execute("PRAGMA journal_mode = WAL")
            made.execute("CREATE TABLE effects (job_id TEXT PRIMARY KEY, runs INTEGER)")
        gateway = stack.enter_context(GatewayProcess(server.url))
        await until_ready(gateway)
        running = House(server, gateway, database, stack)
        bullmq, commands = connect_for_bullmq(server.url, name="soak"), connect(server.url, name="soak")
        ear = Redis.from_url(server.url, socket_timeout=None)
        listening = asyncio.create_task(running.listen(ear))
        try:
            for worker in running.workers:
                await worker.says("worker ready", 30)
            yield running, JobQueues(bullmq, RedisJournal(commands))
        finally:
            listening.cancel()
            await asyncio.wait([listening])
            for client in (bullmq, commands, ear):
                await client.aclose()


async def kill(running: House, chance: random.Random, count: int) -> None:
    """Until every job has ended."""
    deadline = time.monotonic() + ENDED_WITHIN
    while running.heard.ended() < count and time.monotonic() < deadline:
        await asyncio.sleep(KILL_EVERY)
        running.kill_one(chance)


def against_the_law(heard: Heard, count: int) -> Iterator[str]:
    """Each job's events as they were published, and that it ended, once."""
    if len(heard.jobs) != count:
        yield f"{len(heard.jobs)} jobs were told of, and not {count}"
    for job_id, told in heard.jobs.items():
        seqs = [each.payload["seq"] for each in told]
        attempts = [each.payload["attempt"] for each in told]
        if seqs != list(range(1, len(seqs) + 1)):
            yield f"{job_id}: numbers {seqs}"
        if attempts != sorted(attempts):
            yield f"{job_id}: attempts {attempts}"
        if [each.ends_job for each in told].count(True) != 1 or not told[-1].ends_job:
            yield f"{job_id}: {[each.kind for each in told if each.kind != 'job-progress']}"


def delays(heard: Heard) -> tuple[list[float], list[float], int]:
    """Seconds from a death to ``job-stalled`` and to the verdict; jobs that were told over before they were stalled."""
    stalled, verdicts, over = [], [], 0
    for death in heard.deaths:
        for job_id, seq in death.held.items():
            later = [each for each in heard.jobs[job_id] if each.payload["seq"] > seq]
            told = next((each for each in later if each.kind not in {"job-progress", "job-log"}), None)
            if told is None or told.kind != "job-stalled":
                over += 1  # BullMQ had recorded its end, which the reconciler told, or its last events were on the way
                continue
            stalled.append(told.at - death.at)
            verdict = next(each for each in later if each.kind == "job-queue-to-start" or each.ends_job)
            verdicts.append(verdict.at - death.at)
    return sorted(stalled), sorted(verdicts), over


def show(what: str, seconds: list[float], bound: float, figures: Figures) -> None:
    p50, p99 = (seconds[int(len(seconds) * share)] for share in (0.5, 0.99))
    figures.at_most(f"{what} ({len(seconds)} jobs): p50 {p50:.2f}, p99 {p99:.2f}, most", seconds[-1], bound, "s")


async def killing(seed: int, count: int, binary: Path) -> bool:
    chance, figures = random.Random(seed), Figures()
    async with house(binary) as (running, queues):
        for number in range(count):
            data = {"seconds": chance.choice([0.5, 2.0, 5.0])}
            await queues.submit(QUEUE, "upsert", data, JobOptions(job_id=f"kill-{number}"))
        await kill(running, chance, count)
        heard = running.heard
        broken = list(against_the_law(heard, count))
        completed = {job_id for job_id, told in heard.jobs.items() if told[-1].kind == "job-completed"}
        with sqlite3.connect(running.database) as database:
            rows = dict(database.execute("SELECT job_id, runs FROM effects").fetchall())
        database.close()
        running.gateway.check_log()
    failed = sorted({told[-1].payload["error"] for told in heard.jobs.values() if told[-1].kind == "job-failed"})
    stalled, verdicts, over = delays(heard)
    print(f"{len(heard.deaths)} workers killed, {sum(len(each.held) for each in heard.deaths)} jobs in their hands")
    print(f"{len(completed)} of {count} completed; the others failed as: {failed}")
    print(f"{sum(runs > 1 for runs in rows.values())} effects were made again and are there once; {over} told as over")
    figures.at_most("jobs against the law, or not ended once", len(broken), 0)
    figures.at_most("completed jobs without their effect", len(completed - set(rows)), 0)
    show("SIGKILL to job-stalled", stalled, STALLED_WITHIN, figures)
    show("SIGKILL to the verdict", verdicts, VERDICT_WITHIN, figures)
    for sentence in broken[:20]:
        print(f"     {sentence}")
    return figures.well


async def trouble(running: House, chance: random.Random) -> str:
    """Something that is no death."""
    match chance.choice(["hang", "slow", "everything", "nothing"]):
        case "hang":
            running.server.pause()
            await asyncio.sleep(chance.uniform(5, 25))
            running.server.resume()
            return "hang"
        case "slow":
            for _ in range(20):
                running.server.pause()
                await asyncio.sleep(0.8)
                running.server.resume()
                await asyncio.sleep(0.05)
            return "slow"
        case "everything":
            running.pause()
            await asyncio.sleep(chance.uniform(5, 25))
            running.resume()
            return "everything"
        case _:
            await asyncio.sleep(10)
            return "nothing"


async def alive(seed: int, seconds: float, binary: Path) -> bool:
    chance, figures, submitted = random.Random(seed), Figures(), 0
    made: defaultdict[str, int] = defaultdict(int)
    async with house(binary) as (running, queues):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for name in ("upsert", "upsert", "upsert", "block-thread", "block-loop"):
                data = {"seconds": chance.uniform(2, 20)}
                with contextlib.suppress(Unavailable):
                    await queues.submit(QUEUE, name, data, JobOptions(job_id=f"alive-{submitted}"))
                    submitted += 1
            await asyncio.sleep(chance.uniform(1, 5))
            made[await trouble(running, chance)] += 1
        await wait_until(lambda: running.heard.ended() == submitted, ENDED_WITHIN, "the end of every job")
        heard = running.heard
        broken = list(against_the_law(heard, submitted))
    told = [each for events in heard.jobs.values() for each in events]
    print(f"{submitted} jobs; made: {dict(made)}")
    figures.at_most("jobs against the law, or not ended once", len(broken), 0)
    figures.at_most("told as stalled", sum(each.kind == "job-stalled" for each in told), 0)
    starts = {
        job_id: [each.payload for each in events if each.kind == "job-queue-to-start"]
        for job_id, events in heard.jobs.items()
    }
    unheard = [job_id for job_id, begun in starts.items() if begun[0]["attempt"] > 1]
    print(f"{len(unheard)} were begun late, for the answer that gave them to a worker was lost: {unheard}")
    again = {job_id: begun for job_id, begun in starts.items() if len(begun) > 1}
    figures.at_most("begun again", len(again), 0)
    for job_id, begun in again.items():
        print(f"     {job_id}: {begun}")
    figures.at_most("not completed", submitted - sum(each.kind == "job-completed" for each in told), 0)
    for sentence in broken[:20]:
        print(f"     {sentence}")
    return figures.well


async def main(seed: int, jobs: int, seconds: float, binary: Path) -> bool:
    size = f"--alive {seconds:g}" if seconds else f"--jobs {jobs}"
    command = f'make soak SCENARIO=killing ARGS="--seed {seed} {size}"'
    print(f"to repeat: {command}", flush=True)
    began = time.monotonic()
    well = await (alive(seed, seconds, binary) if seconds else killing(seed, jobs, binary))
    print(f"{time.monotonic() - began:.0f} s; to repeat: {command}")
    return well


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--alive", type=float, default=0.0, metavar="SECONDS")
    asked = parser.parse_args()
    redis = find_redis()
    if redis is None:
        print("there is no redis-server on this machine", file=sys.stderr)
        sys.exit(NO_REDIS)
    run(main(asked.seed, asked.jobs, asked.alive, redis))
