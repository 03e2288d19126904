"""The lines of the table: which figure stands beside whose, and what it was hoped to be."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from bench.cases import Sizes
from bench.working import CONCURRENCY

Samples = Mapping[str, Mapping[str, Sequence[float]]]
"""Server, figure, one value a round."""

SERVERS = {
    "jobcast": "jobcast",
    "node": "Node socket.io",
    "stock": "python-socketio, Redis manager",
    "classic": "hand-written loop",
    "floor-c": "bare send() in C",
    "floor-py": "bare send() in Python",
    "listener": "bare subscriber",
    "publish": "bare PUBLISH",
    "bullmq-python": "bullmq for Python",
    "bullmq-node": "bullmq on Node",
}
OURS = "jobcast"
BUSY = 0.95
"""Share of a core from which the clients may have been what was measured."""


@dataclass(frozen=True)
class Figure:
    """One thing measured. ``targets``: against whom, and the ratio it should stay below, if one was set."""

    key: str
    unit: str
    title: str
    targets: Mapping[str, float | None]


def figures(sizes: Sizes) -> list[Figure]:
    """All of them, in the order of the table."""
    peers = {"node": None, "stock": None, "classic": None}
    watchers, jobs, crowd = f"{sizes.watchers:,}", f"{sizes.jobs:,}", f"{sizes.crowd:,}"
    rate = f"{sizes.steady_rate:,}"
    single = {"node": 0.70, "floor-c": 1.15, "floor-py": None, "stock": None, "classic": None}
    return [
        Figure("single.cpu", "us/event", f"1 job, {watchers} watchers, single events: CPU", single),
        Figure("single.p50", "us", f"1 job, {watchers} watchers, single events: p50", {"node": None}),
        Figure("single.p99", "us", f"1 job, {watchers} watchers, single events: p99", {"node": None}),
        Figure("burst.cpu", "us/event", f"1 job, {watchers} watchers, burst: CPU", {**peers, "node": 0.15}),
        Figure("many.cpu", "us/event", f"{jobs} jobs, 1 watcher each, a backlog at once: CPU", {**peers, "node": 0.40}),
        Figure("steady.cpu", "us/event", f"{jobs} jobs, 1 watcher each, {rate} events/s: CPU", peers),
        Figure("steady.p50", "us", f"{rate} deliveries/s: p50", {"node": None, "listener": None}),
        Figure("steady.p99", "us", f"{rate} deliveries/s: p99", {"node": 0.50, "listener": None}),
        Figure("steady.max", "us", f"{rate} deliveries/s: max", {"node": None}),
        Figure("flood.cpu", "us/event", "1 client on a queue, a backlog at once: CPU", {**peers, "node": 0.25}),
        Figure("firehose.cpu", "us/event", "1 client on a queue, as fast as Redis records: CPU", peers),
        Figure("enter.cpu", "us each", f"{crowd} connect and subscribe: CPU", {**peers, "node": 1.00}),
        Figure("idle.memory", "KiB each", f"{crowd} idle clients: memory", {**peers, "node": 0.85}),
        Figure("idle.cpu", "% of a core", f"{crowd} idle clients: CPU", peers),
        Figure("append.wall", "us", "append one event: time", {"publish": None}),
        Figure("append.cpu", "us", "append one event: CPU of Redis", {"publish": None}),
        *(figure for concurrency in CONCURRENCY for figure in _work(concurrency)),
    ]


def _work(concurrency: int) -> list[Figure]:
    """Half the time is twice the rate."""
    case, name = f"no-op jobs, {concurrency} at once", f"work{concurrency}"
    peers = {"bullmq-python": None, "bullmq-node": None}
    return [
        Figure(f"{name}.wall", "us/job", f"{case}: time", {**peers, "bullmq-python": 0.50}),
        Figure(f"{name}.cpu", "us/job", f"{case}: CPU of the worker", peers),
        Figure(f"{name}.redis", "us/job", f"{case}: CPU of Redis", peers),
    ]


@dataclass(frozen=True)
class Row:
    """``ours`` and ``peer`` are medians over the rounds; less is better."""

    figure: str
    case: str
    unit: str
    ours: float
    peer: float
    against: str
    target: float | None
    note: str

    @property
    def ratio(self) -> float:
        return self.ours / self.peer if self.peer else float("inf")

    @property
    def verdict(self) -> str:
        if self.target is None:
            return ""
        return "met" if self.ratio <= self.target else "MISSED"

    def to_dict(self) -> dict[str, object]:
        return {**asdict(self), "ratio": round(self.ratio, 3), "verdict": self.verdict}


def middle(samples: Samples, server: str, figure: str) -> float | None:
    """The median over the rounds; None where it was not measured."""
    values = samples.get(server, {}).get(figure)
    return median(values) if values else None


def compare(samples: Samples, sizes: Sizes) -> list[Row]:
    """Return a row for each pair that was measured."""
    rows = []
    for figure in figures(sizes):
        ours = middle(samples, OURS, figure.key)
        for against, target in figure.targets.items():
            peer = middle(samples, against, figure.key)
            if ours is not None and peer is not None:
                note = _note(samples, figure.key.partition(".")[0], against)
                row = Row(figure.key, figure.title, figure.unit, ours, peer, SERVERS[against], target, note)
                rows.append(row)
    return rows


def _note(samples: Samples, phase: str, against: str) -> str:
    """What a reader must know before he believes the ratio."""
    notes = []
    for server in (OURS, against):
        values = samples.get(server, {})
        if conflated := max(values.get(f"{phase}.conflated", [0])):
            notes.append(f"{SERVERS[server]} replaced {conflated:,.0f} events by later ones")
        if max(values.get(f"{phase}.clients", [0])) > BUSY:
            notes.append(f"the clients of {SERVERS[server]} took a whole core")
    return "; ".join(notes)
