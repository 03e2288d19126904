"""What a gateway counts, in Prometheus' terms."""

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest


class Metrics:
    """One registry for each gateway: nothing is counted at import time or shared between two in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.clients = Gauge("jobcast_clients", "Connected clients", ["door"], registry=self.registry)
        self.watches = Gauge("jobcast_watches", "Jobs and queues watched by clients", registry=self.registry)
        self.received = Counter("jobcast_events_received", "Events from Redis", registry=self.registry)
        self.sent = Counter("jobcast_messages_sent", "Messages to clients", ["door"], registry=self.registry)
        self.readings = Counter("jobcast_readings", "Records read for watchers", registry=self.registry)
        self.lagged = Counter("jobcast_lagged", "Times a client fell behind its outbox", registry=self.registry)
        self.slow = Counter("jobcast_slow_closed", "Clients closed as slow", registry=self.registry)
        self.quarantined = Counter("jobcast_quarantined", "Published bytes that are no event", registry=self.registry)
        self.sink_errors = Counter("jobcast_sink_errors", "Watchers that failed on an event", registry=self.registry)
        self.refused = Counter(
            "jobcast_calls_refused", "Calls refused, by error code", ["code"], registry=self.registry
        )
        self.feed_losses = Gauge("jobcast_feed_losses", "Times the feed from Redis was lost", registry=self.registry)
        self.feed_alive = Gauge("jobcast_feed_alive", "1 while the feed is alive and current", registry=self.registry)

    def render(self) -> bytes:
        """The text a scraper reads."""
        return generate_latest(self.registry)
