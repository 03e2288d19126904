"""Everything that may break is broken, by chance, while jobs run; then all that clients were told is held to the truth.

``python -m tests.soak.faults [--seed 7] [--seconds 60] [--clients 100] [--only kill-redis]`` starts a Redis and two
gateways of its own. What is broken and when follows from the seed; how the processes meet it is chance.
"""

import argparse
import asyncio
import random
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

from tests.soak.audience import Audience, audience
from tests.soak.breaking import FAULTS
from tests.soak.checker import Entry, Opened, Snapped, Told
from tests.soak.pair import Pair, pair
from tests.soak.queue_checker import Forgot
from tests.soak.queue_watching import OfQueue
from tests.soak.resident import Resident
from tests.soak.stage import NO_REDIS, Figures, run
from tests.support.parts import find_redis

LEVEL_WITHIN: Final = 15.0
"""Seconds for everybody to be told everything, once nothing is broken any more."""
QUIET: Final = 1.0
"""Seconds at the end in which nothing more may be told to anybody."""
SHOWN: Final = 20


@dataclass(frozen=True)
class Plan:
    """What is asked for. ``only`` names faults; without it there are all of them."""

    seed: int
    seconds: float = 60.0
    clients: int = 100
    only: Sequence[str] = ()

    @property
    def faults(self) -> Sequence[str]:
        return self.only or list(FAULTS)

    @property
    def command(self) -> str:
        arguments = f"--seed {self.seed} --seconds {self.seconds:g} --clients {self.clients}"
        return f'make soak SCENARIO=faults ARGS="{arguments}{"".join(f" --only {name}" for name in self.only)}"'


@dataclass
class Outcome:
    """What happened. ``violations`` are of the promise, sentences; ``late`` the seconds until all were level."""

    faults: Counter[str] = field(default_factory=Counter)
    late: dict[str, float] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def note(self, name: str, took: float | None) -> None:
        if took is None:
            self.violations.append(f"{LEVEL_WITHIN:g} s after {name} not everybody is level")
            took = LEVEL_WITHIN
        self.late[name] = max(took, self.late.get(name, 0.0))


class Breaking:
    """Breaks one thing after the other, and tells the time."""

    def __init__(self, plan: Plan, house: Pair, crowd: Audience) -> None:
        self.outcome = Outcome()
        self._plan = plan
        self._house = house
        self._crowd = crowd
        self._chance = random.Random(plan.seed)
        self._start = asyncio.get_running_loop().time()

    @property
    def _now(self) -> float:
        return asyncio.get_running_loop().time() - self._start

    async def go_on(self) -> None:
        """Until the time is over; after about half of the faults the next one comes before all are level again."""
        chance, names = self._chance, list[str]()
        await asyncio.sleep(1)
        while self._now < self._plan.seconds and not self.outcome.violations:
            # Dealt like cards: none comes again before all have come.
            names = names or chance.sample(self._plan.faults, len(self._plan.faults))
            name, patient, pause = names.pop(), chance.random() < 0.5, chance.uniform(0, 1)
            await self._break(name)
            if patient or self._plan.only:
                await self._level(name)
            await asyncio.sleep(pause)

    async def _break(self, name: str) -> None:
        print(f"{self._now:6.2f} s  {name}", flush=True)
        await FAULTS[name](self._house, self._crowd, self._chance)
        self.outcome.faults[name] += 1
        self._crowd.check()
        await self._house.repaired()

    async def _level(self, name: str) -> None:
        took = await self._crowd.until_level(LEVEL_WITHIN)
        self.outcome.note(name, took)
        if took is not None:
            print(f"{self._now:6.2f} s  all are level, {took:.2f} s after {name}", flush=True)

    async def finish(self) -> Outcome:
        """Let the jobs end, give everybody time, and check."""
        await self._house.repaired()
        await self._crowd.all_over()
        await self._level("the last event")
        await asyncio.sleep(QUIET)
        self._crowd.check()
        await self._crowd.leave()
        self.outcome.violations += self._crowd.violations()
        return self.outcome


async def soak(plan: Plan, binary: Path) -> Outcome:
    """Start everything, break it, and end everything."""
    print(f"to repeat: {plan.command}", flush=True)
    async with (
        pair(binary) as house,
        audience(house.redis.url, house.urls, plan.clients, plan.seed, queues=True) as crowd,
    ):
        memory = Resident(house)
        sampling = asyncio.create_task(memory.watch())
        crowd.begin(plan.seconds)
        breaking = Breaking(plan, house, crowd)
        await breaking.go_on()
        outcome = await breaking.finish()
        sampling.cancel()
        say(crowd)
        memory.say()
    outcome.violations += house.complaints
    print(f"the gateways lost their feed {house.losses} times")
    return outcome


def say(crowd: Audience) -> None:
    """The figures of the clients and the jobs."""
    logs: list[list[Entry]] = [client.log for client in crowd.clients]
    entries = [entry for log in logs for entry in log]
    skipped = sum(entry.skipped for entry in entries if isinstance(entry, Told))
    snapshots = sum(isinstance(entry, Snapped) for entry in entries)
    resets = sum(
        isinstance(entry, Snapped) and before != Opened(None) for log in logs for before, entry in pairwise(log)
    )
    print(
        f"{len(crowd.publishers)} jobs had {sum(each.events for each in crowd.publishers)} events, "
        f"{sum(each.repeated for each in crowd.publishers)} times one was offered again"
    )
    print(
        f"{len(logs)} clients connected {sum(client.connections for client in crowd.clients)} times and were told "
        f"{sum(isinstance(entry, Told) for entry in entries)} events, {snapshots} snapshots, {resets} of them resets; "
        f"{skipped} events of progress were skipped",
        flush=True,
    )
    queues = [client for client in crowd.clients if isinstance(client, OfQueue)]
    if queues:
        told = sum(isinstance(entry, Told) for client in queues for entry in client.log)
        resets = sum(isinstance(entry, Forgot) for client in queues for entry in client.queue_log)
        print(f"{len(queues)} of them watched a whole queue: {told} events, {resets} resets of a queue", flush=True)


async def main(plan: Plan) -> bool:
    binary = find_redis()
    if binary is None:
        print("there is no redis-server on this machine", file=sys.stderr)
        sys.exit(NO_REDIS)
    outcome = await soak(plan, binary)
    print("faults: " + ", ".join(f"{name} {number}" for name, number in sorted(outcome.faults.items())))
    figures = Figures()
    for name, took in outcome.late.items():
        figures.at_most(f"all level after {name}", took, LEVEL_WITHIN, "s")
    figures.holds(f"the promise was kept: {len(outcome.violations)} violations", not outcome.violations)
    for sentence in outcome.violations[:SHOWN]:
        print(f"     {sentence}")
    print(f"to repeat: {plan.command}")
    return figures.well


def _plan() -> Plan:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--only", action="append", default=[], choices=FAULTS, help="may be given more than once")
    return Plan(**vars(parser.parse_args()))


if __name__ == "__main__":
    run(main(_plan()))
