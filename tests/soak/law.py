"""Duplicates, disorder and late attempts by the hundred thousand: the law of the journal, on a real Redis.

``python -m tests.soak.law [--seed 7] [--steps 100000]``. Each step is one thing that writers, producers and readers do
(or a Redis that forgets); after each the record is held to its twin in memory and to the law as the protocol says it,
and after each example everything that a subscriber heard is held to everything that was recorded.
"""

import argparse
import random
import sys
import time
from pathlib import Path
from typing import Final

from tests.shared.searching import search
from tests.soak.stage import NO_REDIS, Figures
from tests.support.parts import find_redis
from tests.support.redis_server import RedisServer

EXAMPLES: Final = 100
"""In one search; the next one has the next seed."""
LONGEST: Final = 50
TAKEN_AT_LEAST: Final = 0.1
"""Events taken to a step: a search that is refused all the time would prove little."""


def main(seed: int, steps: int, binary: Path) -> bool:
    command = f'make soak SCENARIO=law ARGS="--seed {seed} --steps {steps}"'
    print(f"to repeat: {command}", flush=True)
    server, figures, began = RedisServer(binary), Figures(), time.monotonic()
    done = taken = heard = 0
    try:
        server.start()
        while done < steps:
            found = search(server.url, seed=seed, examples=EXAMPLES, steps=LONGEST)
            done, taken, heard, seed = done + found.steps, taken + found.taken, heard + found.published, seed + 1
            print(f"{done} steps, {taken} events taken, {time.monotonic() - began:.0f} s", flush=True)
    except AssertionError as error:
        print("\n".join([str(error), *getattr(error, "__notes__", ())]))
        print(f"broken in the search with seed {seed}")
        figures.holds(f"the law was kept in {done} steps before that", well=False)
        return False
    finally:
        server.close()
    figures.holds(f"{done} steps, 0 violations", well=True)
    figures.holds(f"{taken} events taken", taken >= TAKEN_AT_LEAST * done)
    figures.holds(f"{heard} messages published, for {taken} events on two channels", heard == 2 * taken)
    print(f"to repeat: {command}")
    return figures.well


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--steps", type=int, default=100_000)
    asked = parser.parse_args()
    redis = find_redis()
    if redis is None:
        print("there is no redis-server on this machine", file=sys.stderr)
        sys.exit(NO_REDIS)
    sys.exit(0 if main(asked.seed, asked.steps, redis) else 1)
