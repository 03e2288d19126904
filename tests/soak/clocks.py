"""Wall clocks that are wrong and step: workers by an hour, gateway and command line by a minute, while jobs run.

``python -m tests.soak.clocks [--seed 7] [--seconds 30]``. Clients of every door stay on one connection throughout,
with pings every second; in the end each must have been told every event of every job, in order, on that connection.
"""

import argparse
import asyncio
import contextlib
import json
import random
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from jobcast.shared.states import LAW
from tests.gateway.listeners import Listener, SocketIoListener, SseListener, Told, WebSocketListener
from tests.gateway.support import GatewayProcess, http, until_ready
from tests.soak.stage import NO_REDIS, Figures, run
from tests.support.clocks import Clock, find_faketime
from tests.support.heard import applied
from tests.support.parts import find_redis
from tests.support.processes import JobcastProcess
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

HOUR: Final = 3600
MINUTE: Final = 60
JOBS: Final = 6
PINGS: Final = {"JOBCAST_PING_INTERVAL": "1", "JOBCAST_PING_TIMEOUT": "1", "JOBCAST_HEARTBEAT": "0.5"}
PAUSE: Final = (0.5, 3.0)
"""Seconds between two steps: shorter and longer than a client waits for a ping."""
ENDED_WITHIN: Final = 60.0
TOLD_WITHIN: Final = 5.0
IDLE: Final = "who watches nothing"


@dataclass
class Seen:
    """``steps`` of a clock; ``violations`` are sentences; ``told`` counts messages over all clients.

    ``wrong`` is how many events had a time half an hour off, ``backwards`` how many an earlier one than that before.
    """

    steps: int = 0
    told: int = 0
    wrong: int = 0
    backwards: int = 0
    violations: list[str] = field(default_factory=list)


@dataclass
class House:
    """What runs, each with a clock of its own: a gateway, two workers, a tail."""

    gateway: GatewayProcess
    workers: list[JobcastProcess]
    tail: JobcastProcess
    clocks: list[tuple[Clock, int]]
    """With the seconds that one may be wrong."""


@contextlib.asynccontextmanager
async def house(binary: Path, library: Path, jobs: list[str]) -> AsyncIterator[House]:
    server = RedisServer(binary)
    with tempfile.TemporaryDirectory(prefix="jobcast-clocks-") as directory, contextlib.ExitStack() as stack:
        stack.callback(server.close)
        server.start()
        ahead = (0, HOUR, -HOUR, 0)
        clocks = [Clock(library, Path(directory, str(number)), each) for number, each in enumerate(ahead)]
        gateway = stack.enter_context(GatewayProcess(server.url, {**PINGS, **clocks[0].env}))
        redis = {"JOBCAST_REDIS_URL": server.url}
        workers = [
            stack.enter_context(JobcastProcess("worker", env={**redis, **clock.env, "JOBCAST_DRAIN": "2"}))
            for clock in clocks[1:3]
        ]
        await until_ready(gateway)
        for worker in workers:
            await worker.says("ready", 20)
        tail = JobcastProcess("tail", *jobs, "--json", "--url", gateway.url, env=clocks[3].env)
        stack.enter_context(tail)
        spans = (MINUTE, HOUR, HOUR, MINUTE)
        yield House(gateway, workers, tail, list(zip(clocks, spans, strict=True)))


@contextlib.asynccontextmanager
async def watching(url: str, jobs: list[str]) -> AsyncIterator[dict[str, Listener]]:
    """Clients of every door that watch every job; an SSE reader watches one."""
    async with (
        WebSocketListener.to(url) as plain,
        SocketIoListener.to(url) as socket,
        SocketIoListener.to(url, transport="polling") as polling,
        SocketIoListener.to(url) as idle,
        contextlib.AsyncExitStack() as stack,
    ):
        for watcher in (plain, socket, polling):
            for job in jobs:
                assert (await watcher.call("subscribe-to-job", job))["ok"]
        # To the client any event is as good as a ping: only one that is told nothing else hangs on the pings alone.
        found: dict[str, Listener] = {"WebSocket": plain, "Socket.IO": socket, "polling": polling, IDLE: idle}
        for job in jobs:
            found[f"SSE of {job}"] = await stack.enter_async_context(SseListener.to(url, f"/api/v1/jobs/{job}/events"))
        yield found


async def soak(binary: Path, library: Path, seed: int, seconds: float) -> Seen:
    """Start everything, step every clock while the jobs run, and check."""
    chance, seen, jobs = random.Random(seed), Seen(), [f"clock-{number}" for number in range(JOBS)]
    async with house(binary, library, jobs) as running, watching(running.gateway.url, jobs) as listeners:
        stepping = asyncio.create_task(_step(running.clocks, chance, seen))
        try:
            last = await _run_jobs(running.gateway.url, jobs, chance, seconds)
            for name, listener in listeners.items():
                await _check(name, listener, last, seen)
            assert await running.tail.exited(ENDED_WITHIN) == 0, running.tail.report
        finally:
            stepping.cancel()
        _check_tail(running.tail.stdout, last, seen)
        seen.violations += [each async for each in _closed_early(running.gateway)]
        seen.violations += [each async for each in _in_force(running)]
        running.gateway.check_log()
        seen.violations += [worker.report for worker in running.workers if "Traceback" in worker.stderr]
    return seen


async def _step(clocks: list[tuple[Clock, int]], chance: random.Random, seen: Seen) -> None:
    """All at once, none to where it stands: from behind to ahead is a step of twice its span."""
    while True:
        for clock, span in clocks:
            clock.step(chance.choice([ahead for ahead in (-span, 0, span) if ahead != clock.ahead]))
            seen.steps += 1
        await asyncio.sleep(chance.uniform(*PAUSE))


async def _run_jobs(url: str, jobs: list[str], chance: random.Random, seconds: float) -> dict[str, int]:
    """Submit them over the first half of the time, wait for their ends; the number of each one's last event."""
    async with http(url) as client:
        for job in jobs:
            data = {"steps": 20, "duration": seconds / 2, "logEvery": 5}
            body = {"queue": "demo", "name": "simulate", "data": data, "opts": {"jobId": job}}
            assert (await client.post("/api/v1/jobs", json=body)).status_code == 202
            await asyncio.sleep(chance.uniform(0, seconds / JOBS / 2))

        async def over() -> dict[str, int] | None:
            views = [(await client.get(f"/api/v1/jobs/{job}")).json() for job in jobs]
            ended = all(view.get("status") in {"completed", "failed"} for view in views)
            return {view["id"]: view["seq"] for view in views} if ended else None

        return await wait_until(over, seconds + ENDED_WITHIN, "the end of every job") or {}


async def _check(name: str, listener: Listener, last: dict[str, int], seen: Seen) -> None:
    if name.startswith("SSE"):
        last = {job: seq for job, seq in last.items() if name.endswith(job)}
    for job, seq in last.items() if name != IDLE else ():
        with contextlib.suppress(AssertionError):
            await wait_until(partial(_is_told, listener, job, seq), TOLD_WITHIN)
        told = _of(job, listener)
        if applied(told) != list(range(1, seq + 1)):
            seen.violations.append(f"{name} was told {applied(told)} of {job}, whose last is {seq}")
        seen.violations += [f"{name}, {job}: {sentence}" for sentence in _odd(told)]
        seen.told += len(told)
        times = [payload["timestamp"] / 1000 for event, payload in told if event in LAW]
        seen.wrong += sum(abs(each - time.time()) > HOUR / 2 for each in times)
        seen.backwards += sum(later < earlier for earlier, later in pairwise(times))
    if listener.ended:
        seen.violations.append(f"{name} was disconnected")


def _of(job: str, listener: Listener) -> list[Told]:
    return [each for each in listener.told if each[1].get("jobId") == job]


def _is_told(listener: Listener, job: str, seq: int) -> bool:
    return applied(_of(job, listener))[-1:] == [seq]


def _odd(told: list[Told]) -> Iterator[str]:
    """Times that cannot be, whatever the clocks said."""
    for name, payload in told:
        if name in {"job-stalled", "job-failed"}:
            yield f"{name}: {payload}"
        if (payload.get("processingTime") or 0) > HOUR * 1000 / 2:
            yield f"{name} says that the handler took {payload['processingTime']} ms"
        yield from (
            f"{name} says {field} {payload[field]}"
            for field in ("queueToStartTime", "processingTime", "totalTime")
            if (payload.get(field) or 0) < 0
        )


def _check_tail(stdout: str, last: dict[str, int], seen: Seen) -> None:
    told: list[dict[str, Any]] = [json.loads(line) for line in stdout.splitlines()]
    for job, seq in last.items():
        numbers = [each["seq"] for each in told if each["jobId"] == job and each["event"] != "job-snapshot"]
        if numbers != list(range(1, seq + 1)):
            seen.violations.append(f"the tail was told {numbers} of {job}, whose last is {seq}")


async def _closed_early(gateway: GatewayProcess) -> AsyncIterator[str]:
    """What the gateway counts of connections that it ended, or of a feed that it lost."""
    async with http(gateway.url) as client:
        text = (await client.get("/metrics")).text
    for line in re.findall(
        r"^jobcast_(?:connections_closed_total|slow_closed_total|feed_losses).*", text, re.MULTILINE
    ):
        if float(line.split()[-1]) > 0:
            yield line


async def _in_force(running: House) -> AsyncIterator[str]:
    """Nothing is shown by a clock that did not step after all."""
    clock, _ = running.clocks[0]
    for ahead in (MINUTE, -MINUTE):
        clock.step(ahead)
        async with WebSocketListener.to(running.gateway.url) as listener:
            said = (await listener.until("connected"))["timestamp"] / 1000 - time.time()
        if abs(said - ahead) > MINUTE / 2:
            yield f"the gateway's clock should be {ahead:+d} s wrong, and is {said:+.1f}"


async def main(seed: int, seconds: float, binary: Path, library: Path) -> bool:
    command = f'make soak SCENARIO=clocks ARGS="--seed {seed} --seconds {seconds:g}"'
    print(f"to repeat: {command}", flush=True)
    seen, figures = await soak(binary, library, seed, seconds), Figures()
    print(f"{seen.steps} times a clock stepped, {seen.told} messages were told")
    figures.holds(f"{seen.wrong} events had a wrong time, {seen.backwards} times it went back", seen.backwards > 0)
    figures.at_most("disconnects, events missed, twice or out of order, spans that cannot be", len(seen.violations), 0)
    for sentence in seen.violations[:20]:
        print(f"     {sentence}")
    print(f"to repeat: {command}")
    return figures.well


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--seconds", type=float, default=30.0)
    asked = parser.parse_args()
    redis, faketime = find_redis(), find_faketime()
    if redis is None or faketime is None:
        print("there is no redis-server or no libfaketime on this machine", file=sys.stderr)
        sys.exit(NO_REDIS)
    run(main(asked.seed, asked.seconds, redis, faketime))
