"""Where the record that is read meets the feed that runs on: all orders of what may happen there, by chance.

``python -m tests.soak.seam [--seed 7] [--rounds 100000] [--first 0]``. A round is one interleaving in the hall (three
clients and two jobs behind the real hub) and one of a watch alone. Time stands still in both, so a round that breaks
the promise is the same one again: ``--first <round> --rounds 1``.
"""

import argparse
import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from jobcast.gateway.metrics import Metrics
from tests.gateway.hall import Hall
from tests.gateway.played import Frozen
from tests.gateway.seam import World
from tests.soak.stage import Figures

STEPS: Final = 40
PORTION: Final = 500
"""Rounds that one process plays at a time."""
SHOWN: Final = 20
MUST_HAPPEN: Final = (
    "fell behind",
    "suspected",
    "abandoned while being read",
    "watched again",
    "records lost",
    "resets",
    "recovered",
    "readings failed",
)
"""What the seam is about: rounds in which one of these never came prove nothing of it."""


@dataclass
class Played:
    """``rounds`` interleavings of each kind; ``broken`` says which round broke the promise, and how."""

    rounds: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    def add(self, other: "Played") -> None:
        self.rounds += other.rounds
        self.seen += other.seen
        self.broken += other.broken


def play(seed: int, first: int, rounds: int) -> Played:
    """Play them one after the other; a round that breaks the promise is noted, and the next one begins."""
    played, metrics = Played(), Metrics()
    with asyncio.Runner(loop_factory=Frozen) as runner:
        for number in range(first, first + rounds):
            chance = random.Random(f"{seed}-{number}")
            try:
                runner.run(_in_the_hall(chance, metrics, played.seen))
                World(chance.randint(2, 12)).run(chance.randbytes(chance.randint(20, 80)))
            except AssertionError as error:
                played.broken.append(f"round {number}: {error}")
            played.rounds += 1
    for name, metric in (("fell behind", "lagged"), ("records read", "readings"), ("closed as slow", "slow_closed")):
        played.seen[name] = int(metrics.registry.get_sample_value(f"jobcast_{metric}_total") or 0)
    return played


async def _in_the_hall(chance: random.Random, metrics: Metrics, seen: Counter[str]) -> None:
    hall = Hall(chance, metrics, seen)
    try:
        await hall.run(STEPS)
    finally:
        await hall.close()


def play_all(seed: int, first: int, rounds: int) -> Played:
    """The same on every core."""
    played, starts = Played(), range(first, first + rounds, PORTION)
    sizes = [min(PORTION, first + rounds - start) for start in starts]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for portion in _told(pool.map(play, [seed] * len(starts), starts, sizes), rounds):
            played.add(portion)
    return played


def _told(portions: Iterator[Played], rounds: int) -> Iterator[Played]:
    done, next_told = 0, rounds // 10
    for portion in portions:
        yield portion
        done += portion.rounds
        if done >= next_told:
            print(f"{done} rounds", flush=True)
            next_told += rounds // 10


def main(seed: int, first: int, rounds: int) -> bool:
    command = f'make soak SCENARIO=seam ARGS="--seed {seed} --rounds {rounds}"'
    print(f"to repeat: {command}", flush=True)
    began = time.monotonic()
    played = play_all(seed, first, rounds)
    print(f"{played.rounds} interleavings of each kind in {time.monotonic() - began:.0f} s")
    print("in the hall: " + ", ".join(f"{number} {name}" for name, number in sorted(played.seen.items())))
    figures = Figures()
    for name in MUST_HAPPEN if rounds >= PORTION else ():
        figures.holds(f"{name}: {played.seen[name]} times", played.seen[name] > 0)
    figures.at_most("rounds with a gap, a repeat or an end untold", len(played.broken), 0)
    for sentence in played.broken[:SHOWN]:
        print(f"     {sentence}")
    print(f"to repeat: {command}")
    return figures.well


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--rounds", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first round")
    asked = parser.parse_args()
    raise SystemExit(0 if main(asked.seed, asked.first, asked.rounds) else 1)
