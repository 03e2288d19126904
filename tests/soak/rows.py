"""The rows of docs/reliability.md, one by one: what is broken, how it is measured, and the figure to reach.

``python -m tests.soak.rows --row 1 [--seed 7] [--clients 500] [--events 100000] [--seconds 130]`` starts a Redis and
two gateways of its own. What is broken and when follows from the seed; how the processes meet it is chance.
"""

import argparse
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from tests.soak import client_rows, feed_rows, gateway_rows, redis_rows
from tests.soak.faults import SHOWN
from tests.soak.resuming import BySse
from tests.soak.scene import Row, Scene, Size, play
from tests.soak.stage import NO_REDIS, run
from tests.soak.tailing import ByTail
from tests.support.parts import find_redis

SSE_AND_TAIL: Final = 33
THROUGH: Final = (1, 5, 7, 9)
"""The rows that row 33 plays again."""
TAILING: Final = 32
"""Half of them processes of their own."""
TAILED: Final = 20_000

ROWS: Final = {
    1: Row("Redis killed and restarted", redis_rows.killed, Size(500, 100_000, 130), queues=True),
    2: Row("Redis comes back empty", redis_rows.emptied, Size(500, 10_000, 20), queues=True),
    3: Row("Redis hung", redis_rows.hung, Size(500, 10_000, 30)),
    4: Row("half-open link to Redis", redis_rows.half_open, Size(500, 10_000, 10), linked=True),
    5: Row("feeds killed every 200 ms", feed_rows.killed_again_and_again, Size(200, 20_000, 60), queues=True),
    6: Row("a feed overflows", feed_rows.overflowed, Size(200, 5_000, 20)),
    7: Row("a gateway killed", gateway_rows.killed, Size(2000, 10_000, 30), doors=gateway_rows.LIGHT, queues=True),
    8: Row(
        "rolling restart",
        gateway_rows.rolled,
        Size(1000, 10_000, 40),
        doors=gateway_rows.CROWD,
        environment=gateway_rows.ROLLING,
    ),
    9: Row("flapping clients", client_rows.flapped, Size(200, 20_000, 60), fronted=True, queues=True),
}


@dataclass(frozen=True)
class Plan:
    """A row and its seed; what is not given is the row's own."""

    row: int
    seed: int
    clients: int | None = None
    events: int | None = None
    seconds: float | None = None
    fsync: str | None = None
    through: int | None = None

    @property
    def command(self) -> str:
        given = {"clients": self.clients, "events": self.events, "seconds": self.seconds, "fsync": self.fsync}
        given["through"] = self.through
        more = "".join(f" --{name} {value}" for name, value in given.items() if value is not None)
        return f'make soak SCENARIO=rows ARGS="--row {self.row} --seed {self.seed}{more}"'

    def rows(self) -> Iterator[tuple[int, Row, Size]]:
        for number, row, size in parts(self.row):
            if self.through not in {None, number}:
                continue
            given = {"clients": self.clients, "events": self.events, "seconds": self.seconds}
            config = {"appendfsync": self.fsync} if self.fsync else {}
            chosen = replace(size, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
            yield number, replace(row, config=config), chosen


def parts(number: int) -> Iterator[tuple[int, Row, Size]]:
    """What is played for a row: itself, or others with the clients it is about."""
    if number != SSE_AND_TAIL:
        yield number, ROWS[number], ROWS[number].size
        return
    for each in THROUGH:
        row = replace(ROWS[each], doors=(BySse, ByTail), fronted=True, queues=False)
        yield each, row, replace(row.size, clients=TAILING, events=min(row.size.events, TAILED))


async def main(plan: Plan) -> bool:
    binary = find_redis()
    if binary is None:
        print("there is no redis-server on this machine", file=sys.stderr)
        sys.exit(NO_REDIS)
    well = True
    for number, row, size in plan.rows():
        print(f"row {number}, {row.fault}: {size}; to repeat: {plan.command}", flush=True)
        scene = await play(row, size, plan.seed, binary)
        well = _say(scene) and well
    print(f"to repeat: {plan.command}")
    return well


def _say(scene: Scene) -> bool:
    for sentence in scene.violations[:SHOWN]:
        print(f"     {sentence}", flush=True)
    return scene.figures.well


def _plan() -> Plan:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--row", type=int, required=True, choices=[*ROWS, SSE_AND_TAIL])
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--clients", type=int)
    parser.add_argument("--events", type=int, help="of all jobs together, about")
    parser.add_argument("--seconds", type=float, help="in which they are published, and how long what lasts is broken")
    parser.add_argument("--fsync", choices=["always", "everysec"], help="Redis' appendfsync")
    parser.add_argument("--through", type=int, choices=THROUGH, help="of row 33, this row alone")
    return Plan(**vars(parser.parse_args()))


if __name__ == "__main__":
    run(main(_plan()))
