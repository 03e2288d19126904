"""The cases: what each server is put through, and the figures that come of it."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from bench.stage import QUEUE, FloorStage, Kind, ListenerStage, Stage, Workshop, play

Values = dict[str, float]


@dataclass(frozen=True)
class Sizes:
    """How much of everything. Times follow from it; figures are per event or per client."""

    rounds: int = 2
    watchers: int = 1000
    singles: int = 200
    pace: int = 20
    burst: int = 1000
    jobs: int = 1000
    steady: int = 20_000
    steady_rate: int = 2000
    firehose: int = 50_000
    firehose_jobs: int = 100
    crowd: int = 5000
    vanguard: int = 500
    idle: float = 25.0
    """Seconds. Socket.IO's ping interval: an idle time of this length holds one ping of each client."""
    appends: int = 5000
    work: int = 5000

    def for_slow(self) -> "Sizes":
        """A tenth of the events for a server that takes ten times as long, and a pace it can hold."""
        return replace(
            self,
            singles=min(self.singles // 3, 40),
            pace=5,
            burst=self.burst // 10,
            steady=self.steady // 4,
            firehose=self.firehose // 5,
        )


QUICK = Sizes(
    rounds=1,
    singles=60,
    burst=200,
    steady=6000,
    firehose=10_000,
    crowd=1000,
    vanguard=200,
    idle=0,
    appends=1000,
    work=2000,
)


def fanout(stage: Stage, sizes: Sizes) -> Iterator[Values]:
    """One job, everybody watches it: events one at a time, then as many at once as Redis takes."""
    order: dict[str, Any] = {"prefix": "fanout", "jobs": 1}
    stage.start_jobs("fanout", 1)
    stage.open(sizes.watchers, "job", "fanout-0")
    _settle(stage)
    stage.publish({**order, "do": "paced", "events": sizes.pace, "rate": sizes.pace}, watchers=sizes.watchers)
    single = stage.publish(
        {**order, "do": "paced", "events": sizes.singles, "rate": sizes.pace}, watchers=sizes.watchers
    )
    yield {**single.values("single"), "single.bytes": single.frame_bytes}
    burst = stage.publish({**order, "do": "burst", "events": sizes.burst}, watchers=sizes.watchers)
    yield burst.values("burst")


def jobs(stage: Stage, sizes: Sizes) -> Iterator[Values]:
    """Many jobs, one watcher each: what an event costs at full rate and at an even one, and how late it then comes."""
    order: dict[str, Any] = {"prefix": "jobs", "jobs": sizes.jobs}
    stage.start_jobs("jobs", sizes.jobs)
    stage.open(sizes.jobs, "job", "jobs-*")
    _settle(stage)
    stage.publish({**order, "do": "burst", "events": 2 * sizes.jobs}, watchers=1)
    yield stage.flood({**order, "events": sizes.steady}, watchers=1).values("many")
    order |= {"do": "paced", "rate": sizes.steady_rate}
    stage.publish({**order, "events": sizes.steady_rate}, watchers=1)
    yield stage.publish({**order, "events": sizes.steady}, watchers=1).values("steady")


def firehose(stage: Stage, sizes: Sizes) -> Iterator[Values]:
    """One client that watches a queue in which all happens at once."""
    order = {"do": "burst", "prefix": "firehose", "jobs": sizes.firehose_jobs}
    stage.start_jobs("firehose", sizes.firehose_jobs)
    stage.open(1, "queue", QUEUE)
    _settle(stage)
    stage.publish({**order, "events": sizes.firehose // 5}, watchers=1)
    yield stage.publish({**order, "events": sizes.firehose}, watchers=1).values("firehose")
    yield stage.flood({**order, "events": sizes.firehose}, watchers=1).values("flood")


def crowd(stage: Stage, sizes: Sizes) -> Iterator[Values]:
    """Thousands connect, each for its own job, and then only stay."""
    stage.start_jobs("crowd", sizes.vanguard + sizes.crowd)
    # They stay: what they leave behind in the heap would else be room for the others, and not be counted.
    stage.open(sizes.vanguard, "job", "crowd-*")
    _settle(stage)
    cpu, memory = stage.cpu, stage.memory
    stage.open(sizes.crowd, "job", "crowd-*")
    yield {"enter.cpu": (stage.cpu - cpu) / sizes.crowd * 1e6}
    _settle(stage)
    yield {"idle.memory": (stage.memory - memory) / sizes.crowd / 1024}


def idle(stage: Stage, sizes: Sizes) -> Iterator[Values]:
    """The same crowd for one period of pings: the share of a core that nothing takes."""
    yield from crowd(stage, sizes)
    cpu = stage.cpu
    seen = stage.rest(sizes.idle)
    yield {"idle.cpu": (stage.cpu - cpu) / sizes.idle * 100, "idle.pings": float(seen["pings"])}


CASES: dict[str, Callable[[Stage, Sizes], Iterator[Values]]] = {
    "fanout": fanout,
    "jobs": jobs,
    "firehose": firehose,
    "crowd": crowd,
}


def measure(workshop: Workshop, kind: Kind, case: str, sizes: Sizes, number: int) -> Values:
    """One round of one case. The idle time is taken in the first round only: it is long and has little to vary."""
    steps = idle if case == "crowd" and number == 0 and sizes.idle else CASES[case]
    values: Values = {}
    with play(workshop, kind) as stage:
        for found in steps(stage, sizes.for_slow() if kind.slow else sizes):
            values |= found
    return values


def measure_floor(workshop: Workshop, key: str, sizes: Sizes, size: int) -> Values:
    """The fan-out's single events, only sent; ``size`` is that of the gateway's frames in the same run."""
    with FloorStage(workshop, key, sizes.watchers) as stage:
        stage.publish(sizes.pace, sizes.pace, size)
        return stage.publish(sizes.singles, sizes.pace, size).values("single")


def measure_listener(workshop: Workshop, sizes: Sizes) -> Values:
    """The many jobs' even rate with nobody between Redis and who listens: a latency without a server in it."""
    with ListenerStage(workshop, sizes.jobs) as stage:
        stage.publish(sizes.steady_rate, sizes.steady_rate)
        return stage.publish(sizes.steady, sizes.steady_rate)


def _settle(stage: Stage) -> None:
    """Wait until the server has nothing left to do, three seconds at most."""
    for _ in range(6):
        before = stage.cpu
        time.sleep(0.5)
        if stage.cpu - before < 0.01:
            return
