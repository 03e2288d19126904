"""The order of things: every server of a case in turn, and that again and again, so that noise hits all alike."""

import contextlib
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from bench import appending, working
from bench.cases import CASES, Sizes, Values, measure, measure_floor, measure_listener
from bench.machine import Invalid, speed
from bench.rows import OURS
from bench.stage import NODE, Kind, Workshop, available
from bench.talk import Tool, build
from tests.support.redis_server import RedisServer

NAMES = (*CASES, "appending", "worker")
FLOORS = ("floor-c", "floor-py")
LISTENER = "listener"


@contextlib.contextmanager
def workshop(redis: RedisServer) -> Iterator[Workshop]:
    """Compile the tools and start what outlives the stages."""
    with tempfile.TemporaryDirectory(prefix="jobcast-bench-") as directory:
        build(Path(directory))
        redis.start()
        with Tool([sys.executable, "-m", "bench.publisher", str(redis.port)]) as publisher:
            yield Workshop(redis, Path(directory), publisher)


class Rounds:
    """Runs the cases asked for. ``samples`` and ``invalid`` are what came of it, ``speeds`` what the
    machine took for the same loop before each measurement.
    """

    def __init__(self, workshop: Workshop, sizes: Sizes) -> None:
        self._workshop = workshop
        self._sizes = sizes
        self._kinds = available()
        if NODE not in self._kinds:
            _say("bench: without Node and bench/peers/node_modules (make bench installs them) its server is left out")
        self.samples: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self.invalid: list[str] = []
        self.speeds: list[float] = []

    def run(self, names: Sequence[str]) -> None:
        """All rounds of all cases; a case that comes to nothing is noted, the others go on."""
        for number in range(self._sizes.rounds):
            for name in names:
                if name == "appending":
                    self._append(number)
                elif name == "worker":
                    self._work(number)
                else:
                    self._case(name, number)

    def _case(self, name: str, number: int) -> None:
        kinds = [kind for kind in self._kinds if number == 0 or not kind.slow]
        # Whoever always came second would always meet the warmer machine.
        for kind in kinds if number % 2 == 0 else reversed(kinds):
            self._one(name, number, kind)
        if name == "fanout" and (sizes := self.samples[OURS].get("single.bytes")):
            for key in FLOORS:
                self._floor(key, number, round(sizes[-1]))
        if name == "jobs":
            self._keep(LISTENER, name, number, lambda: measure_listener(self._workshop, self._sizes))

    def _one(self, name: str, number: int, kind: Kind) -> None:
        self._keep(kind.key, name, number, lambda: measure(self._workshop, kind, name, self._sizes, number))

    def _floor(self, key: str, number: int, size: int) -> None:
        self._keep(key, "fanout", number, lambda: measure_floor(self._workshop, key, self._sizes, size))

    def _append(self, number: int) -> None:
        self._workshop.redis.flush()
        found = appending.measure(self._workshop.redis.url, self._sizes.appends)
        for server in found:
            self._keep(server, "appending", number, partial(found.__getitem__, server))

    def _work(self, number: int) -> None:
        kinds = working.available()
        if working.NODE not in kinds:
            _say("bench: without Node and bench/peers/node_modules (make bench installs them) its worker is left out")
        for concurrency in working.CONCURRENCY:
            for kind in kinds if number % 2 == 0 else reversed(kinds):
                take = partial(working.measure, self._workshop.redis, kind, concurrency, self._sizes.work)
                self._keep(kind.key, "worker", number, take)

    def _keep(self, server: str, case: str, number: int, take: Callable[[], Values]) -> None:
        self.speeds.append(speed())
        start = time.monotonic()
        try:
            values = take()
        except Invalid as error:
            self.invalid.append(f"{case}, round {number + 1}, {server}: {error}")
            _say(f"{case:<10} {number + 1} {server:<9} INVALID: {error}")
            return
        for key, value in values.items():
            self.samples[server][key].append(value)
        shown = "  ".join(f"{key} {value:.4g}" for key, value in values.items())
        _say(f"{case:<10} {number + 1} {server:<9} {time.monotonic() - start:5.1f} s  {shown}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
