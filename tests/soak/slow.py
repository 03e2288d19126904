"""A twentieth of a job's watchers do not read, or a kilobyte a second: what they cost, and what the others notice."""

import argparse
import asyncio
import contextlib
import multiprocessing
import re
import socket
import time
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.gateway.crowd import anonymous, descriptors, dial, gauge
from tests.gateway.support import GatewayProcess
from tests.soak.stage import Figures, Spell, Stage, run, stage
from tests.soak.watchers import Crowd, crowd, opening

RATE, DETAILS = 20.0, 2000
TRICKLE = 1024
"""Bytes a second that the slow ones read."""
DEADLINE = 10.0
"""The gateway's default for writing without progress."""
PER_CLIENT = 256 * 1024
LOOK = 0.25


@dataclass
class Stuck:
    """A connection as the kernel shows it from the gateway's side."""

    waits: int = -1
    """Bytes the client has not acknowledged."""
    since: float = 0.0
    """When that changed last."""
    ended: float = 0.0


def glance(pid: int, port: int) -> tuple[int, dict[int, int]]:
    """The gateway's own memory, and the bytes unacknowledged in its open connections by the client's port."""
    rows = Path("/proc/net/tcp").read_text(encoding="ascii")
    found = re.findall(rf": \w+:{port:04X} \w+:(\w+) 01 (\w+):", rows)
    return anonymous(pid), {int(theirs, 16): int(waits, 16) for theirs, waits in found}


class Look:
    """Watches the gateway from a process of its own: a thousand rows take 25 ms to read, which is what we measure."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self.memory = 0
        self.peak = 0
        self.stuck: dict[int, Stuck] = {}
        self._gateway = gateway

    def follow(self, ports: list[int]) -> None:
        """From now on the memory's peak, and the connections of these ports."""
        self.peak = self.memory
        self.stuck = {port: Stuck() for port in ports}

    async def go_on(self, pool: ProcessPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self.memory, open_ones = await loop.run_in_executor(pool, glance, self._gateway.pid, self._gateway.port)
            self.peak = max(self.peak, self.memory)
            for port, stuck in self.stuck.items():
                self._note(stuck, open_ones.get(port))
            await asyncio.sleep(LOOK)

    @staticmethod
    def _note(stuck: Stuck, waits: int | None) -> None:
        now = time.monotonic()
        if waits is None:
            stuck.ended = stuck.ended or now
        elif waits != stuck.waits:
            stuck.waits, stuck.since = waits, now


@contextlib.asynccontextmanager
async def looking(gateway: GatewayProcess) -> AsyncIterator[Look]:
    """In every spell, for it costs the gateway a little too."""
    look = Look(gateway)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        task = asyncio.create_task(look.go_on(pool))
        try:
            yield look
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def trickle(connection: socket.socket) -> None:
    """Read a little every second, to the end."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(ConnectionError):
        while True:
            if not await loop.sock_recv(connection, TRICKLE):
                return
            await asyncio.sleep(1)


@contextlib.asynccontextmanager
async def slow_ones(port: int, number: int) -> AsyncIterator[tuple[list[int], list[int]]]:
    """So many that read nothing, and so many that read a trickle: their ports."""
    connections = [await dial(port, buffer=4096, said=opening(port, "j", each)) for each in range(2 * number)]
    tasks = [asyncio.create_task(trickle(each)) for each in connections[number:]]
    ports = [each.getsockname()[1] for each in connections]
    try:
        yield ports[:number], ports[number:]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for each in connections:
            each.close()


async def with_slow_ones(gateway: GatewayProcess, look: Look, watching: Crowd, each: int, seconds: float) -> "Beside":
    """The others' times while ``each`` read nothing and as many a trickle."""
    memory, before = look.memory, descriptors(gateway.pid)
    async with slow_ones(gateway.port, each) as (silent, trickling):
        look.follow(silent + trickling)
        spell = await watching.spell(seconds)
        return Beside(
            spell,
            each,
            memory=(look.peak - memory) // (2 * each),
            descriptors=descriptors(gateway.pid) - before,
            silent=[look.stuck[port] for port in silent],
            trickling=[look.stuck[port] for port in trickling],
            counted=await gauge(gateway.url, "jobcast_slow_closed_total"),
            behind=await gauge(gateway.url, "jobcast_lagged_total"),
        )


@dataclass(frozen=True)
class Beside:
    """What happened while there were slow ones: ``each`` that read nothing, and as many that read a little."""

    spell: Spell
    each: int
    memory: int
    descriptors: int
    silent: list[Stuck]
    trickling: list[Stuck]
    counted: float
    behind: float

    def judge(self, figures: Figures) -> None:
        kept = sum(not one.ended for one in self.trickling)
        late = [one.ended - one.since - DEADLINE for one in self.silent if one.ended]
        print(f"{kept} of {self.each} that read {TRICKLE} B/s are still connected, for they go on")
        figures.holds(f"{self.behind:g} of {2 * self.each} fell behind", self.behind >= 2 * self.each)
        figures.at_most("memory of a slow client", self.memory / 1024, PER_CLIENT / 1024, "KiB")
        figures.holds(f"{len(late)} of {self.each} that read nothing are ended", len(late) == self.each)
        figures.at_most(f"ended after the verdict (to {LOOK} s)", max(late, default=0), 5, "s")
        closed = 2 * self.each - kept
        figures.holds(f"{self.counted:g} of these {closed} were counted as slow", self.counted == closed)
        figures.holds(f"{self.descriptors} descriptors are held for the others", self.descriptors <= kept + 1)


async def soak(staged: Stage, watchers: int, each: int, seconds: float, figures: Figures) -> None:
    gateway = staged.gateway
    async with (
        crowd(staged.redis_url, gateway.port, watchers - 2 * each, rate=RATE, details=DETAILS) as watching,
        looking(gateway) as look,
    ):
        await watching.spell(5)
        alone = await watching.spell(seconds)
        print(f"{len(watching.watchers)} watchers: {alone}", flush=True)
        beside = await with_slow_ones(gateway, look, watching, each, seconds)
        print(f"beside {2 * each} slow ones: {beside.spell}")
        beside.judge(figures)
        await watching.spell(2)
        after = await watching.spell(seconds)
        print(f"without them again: {after}")
        base = (alone.p99 + after.p99) / 2
        figures.at_most("p99 beside slow ones, to the mean of that before and after", beside.spell.p99 / base, 1.2)
        await watching.hears_all(figures)


async def main(watchers: int, seconds: float) -> bool:
    figures = Figures()
    async with stage() as staged:
        await soak(staged, watchers, watchers // 40, seconds, figures)
    return figures.well


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--watchers", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=30.0)
    given = parser.parse_args()
    run(main(given.watchers, given.seconds))
