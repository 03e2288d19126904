"""What a gateway counts, in Prometheus' terms."""

from collections import defaultdict
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class Tally:
    """A count of the hot path: a plain number, read when it is asked for. The library's counter takes a lock each."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self, amount: int = 1) -> None:
        self.value += amount

    def dec(self) -> None:
        self.value -= 1


class _Tallies(Collector):
    """``counters`` and ``gauges`` by name and help, and how many ``clients`` each door has."""

    def __init__(
        self, counters: dict[tuple[str, str], Tally], gauges: dict[tuple[str, str], Tally], clients: dict[str, Tally]
    ) -> None:
        self._counters = counters
        self._gauges = gauges
        self._clients = clients

    def collect(self) -> Iterable[Metric]:
        for (name, says), tally in self._counters.items():
            yield CounterMetricFamily(name, says, value=tally.value)
        for (name, says), tally in self._gauges.items():
            yield GaugeMetricFamily(name, says, value=tally.value)
        by_door = GaugeMetricFamily("jobcast_clients", "Connected clients", labels=["door"])
        for door, tally in self._clients.items():
            by_door.add_metric([door], tally.value)
        yield by_door


class Metrics:
    """One registry for each gateway: nothing is counted at import time or shared between two in one process."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.readings = Counter("jobcast_readings", "Records read for watchers", registry=registry)
        self.lagged = Counter("jobcast_lagged", "Times a client fell behind its outbox", registry=registry)
        self.slow = Counter("jobcast_slow_closed", "Clients closed as slow", registry=registry)
        self.quarantined = Counter(
            "jobcast_quarantined", "Published bytes that are no event, and records that are none", registry=registry
        )
        self.sink_errors = Counter("jobcast_sink_errors", "Watchers that failed on an event", registry=registry)
        self.silent_gaps = Counter(
            "jobcast_silent_gaps", "Jobs and queues of which the feed lost events without a word", registry=registry
        )
        self.refused = Counter("jobcast_calls_refused", "Calls refused, by error code", ["code"], registry=registry)
        self.turned_away = Counter(
            "jobcast_connections_closed",
            "Connections closed early, by reason",
            ["reason"],
            registry=registry,
        )
        self.feed_losses = Gauge("jobcast_feed_losses", "Times the feed from Redis was lost", registry=registry)
        self.feed_failures = Gauge(
            "jobcast_feed_failures", "Times the feed failed by a mistake of the gateway's own", registry=registry
        )
        self.feed_alive = Gauge("jobcast_feed_alive", "1 while the feed is alive and current", registry=registry)
        self.stalled = Gauge(
            "jobcast_stalled_told",
            "Jobs ever told as stalled, by whichever worker or gateway: the same number at every gateway",
            registry=registry,
        )
        self.received = Tally()
        self.sent = Tally()
        self.connections = Tally()
        self.watches = Tally()
        self.clients: defaultdict[str, Tally] = defaultdict(Tally)
        registry.register(
            _Tallies(
                {
                    ("jobcast_events_received", "Messages from Redis"): self.received,
                    ("jobcast_messages_sent", "Messages to clients"): self.sent,
                },
                {
                    ("jobcast_connections", "Open TCP connections"): self.connections,
                    ("jobcast_watches", "Jobs and queues watched by clients"): self.watches,
                },
                self.clients,
            )
        )

    def render(self) -> bytes:
        """The text a scraper reads."""
        return generate_latest(self.registry)
