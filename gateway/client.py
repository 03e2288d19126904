"""One connected client, whatever its door: what it watches, and how it is sent what happens."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from jobcast.gateway.allowance import Allowance
from jobcast.gateway.catchup import CatchUp
from jobcast.gateway.hub import Hub
from jobcast.gateway.outlet import Outlet
from jobcast.gateway.queue_watch import QueueWatch
from jobcast.gateway.queue_words import told_circuit
from jobcast.gateway.sinks import JobSink, QueueSink
from jobcast.gateway.watch import Opened, Watch
from jobcast.gateway.wire import Dialect, Message
from jobcast.shared.circuit_words import Circuit
from jobcast.shared.clock import now_ms
from jobcast.shared.errors import TooManySubscriptions, Unavailable
from jobcast.shared.position import Position
from jobcast.shared.snapshot import Snapshot

_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class OpenedQueue:
    """The jobs that were live when a queue's watch was opened, and the position in the queue up to which it was told.

    ``position`` is None while that is still under way.
    """

    live: list[Snapshot]
    position: Position | None
    recovered: bool


class Client(CatchUp):
    """What every door has in common. ``door`` names it in the metrics, ``dialect`` writes what goes to its ``outlet``.

    ``most`` bounds what it may watch at once; ``on_close`` (client, reason) is called once: the door hangs up then.
    """

    __slots__ = (
        "_most",
        "_on_close",
        "allowance",
        "closed",
        "dialect",
        "door",
        "jobs",
        "queues",
    )

    def __init__(  # noqa: PLR0913  what a door knows of its client; only Clients calls it
        self,
        door: str,
        hub: Hub,
        outlet: Outlet,
        dialect: Dialect,
        *,
        most: int,
        allowance: Allowance,
        on_close: "Callable[[Client, str], None]",
    ) -> None:
        super().__init__(secrets.token_urlsafe(12), hub, outlet)
        self.door = door
        self.dialect = dialect
        self.closed = False
        self.allowance = allowance
        self.jobs: dict[str, JobSink] = {}
        self.queues: dict[str, QueueSink] = {}
        self._most = most
        self._on_close = on_close
        outlet.on_room.append(self._room)
        hub.metrics.clients[door].inc()

    # What a door calls.

    def greet(self) -> None:
        """The first thing a client is told, by every door that can say it."""
        self.say("connected", {"message": "connected", "clientId": self.id, "timestamp": now_ms()})

    def say(self, name: str, payload: Any) -> None:
        """Send an answer that is no event; a client that does not read its answers is closed as slow."""
        self.push(Message(name, _encode([name, payload]), ""))

    def move(self, outlet: Outlet, dialect: Dialect) -> None:
        """Go on by another transport of the same connection."""
        self.outlet, self.dialect = outlet, dialect
        outlet.on_room.append(self._room)
        for job_id, sink in self.jobs.items():
            self._hub.moved(job_id, sink)

    def close(self, reason: str) -> None:
        """Let everything go; the door is told and closes its connection. Twice is once."""
        if self.closed:
            return
        self.closed = True
        for job_id in list(self.jobs):
            self.unwatch_job(job_id)
        for queue in list(self.queues):
            self.unwatch_queue(queue)
        self._stop_reading()
        self.outlet.on_room.remove(self._room)
        self._hub.metrics.clients[self.door].dec()
        if reason == "slow":
            self._hub.metrics.slow.inc()
        self._on_close(self, reason)

    # Watching.

    async def watch_job(self, job_id: str, since: Position | None = None) -> Opened:
        """Follow first, then read: what lies between the two is in both, and is sent once.

        Watching a job that is watched already begins anew, from ``since``.

        Raises:
            TooManySubscriptions, Unavailable: nothing is watched then.
        """
        self.unwatch_job(job_id)
        self._check_in()
        sink = self.jobs[job_id] = JobSink(self, Watch(job_id, since))
        self._hub.metrics.watches.inc()
        try:
            await self._hub.join_job(job_id, sink)
            reading = await self._hub.read(job_id, since)
        except BaseException:
            if self.jobs.get(job_id) is sink:
                self.unwatch_job(job_id)
            raise
        return self._open(sink.watch, sink.watch.opened(reading))

    def unwatch_job(self, job_id: str) -> None:
        sink = self.jobs.pop(job_id, None)
        if sink is not None:
            self.abandon(sink.watch)
            self._hub.leave_job(job_id, sink)
            self._hub.metrics.watches.dec()
            for queue in self.queues.values():
                queue.take_back(job_id, sink.watch)

    async def watch_queue(self, queue: str, since: Position | None = None) -> OpenedQueue:
        """Watch every job of a queue, from a position in it or from those that are live now.

        Raises:
            TooManySubscriptions, Unavailable: nothing is watched then.
        """
        self.unwatch_queue(queue)
        self._check_in()
        watch = QueueWatch(queue, since, self.jobs)
        sink = self.queues[queue] = QueueSink(self, watch)
        self._hub.metrics.watches.inc()
        try:
            await self._hub.join_queue(queue, sink)
            live = await self._open_queue(watch)
        except BaseException:
            if self.queues.get(queue) is sink:
                self.unwatch_queue(queue)
            raise
        return OpenedQueue(live, watch.place, since is not None and watch.recovered)

    def unwatch_queue(self, queue: str) -> None:
        sink = self.queues.pop(queue, None)
        if sink is not None:
            self.abandon(sink.watch)
            self._hub.leave_queue(queue, sink)
            self._circuits.pop(queue, None)
            self._hub.metrics.watches.dec()

    # What the sinks call.

    def take(self, watch: Watch | QueueWatch, message: Message) -> None:
        """An event from the feed, for one of our watches."""
        last = watch.last
        sent = watch.live(message)
        if sent is None:
            self.catch_up(watch)
            return
        hub = self._hub
        try:
            taken = hub.cork.offer(self.outlet, sent.encoded(self.dialect))
        except Exception:
            # Counted where it is caught. Untaken, the event is read again from the record.
            self.fall_behind(watch, last)
            raise
        if taken:
            hub.metrics.sent.inc()
        else:
            self.fall_behind(watch, last)

    def tell_circuit(self, circuit: Circuit) -> None:
        """The circuit of a queue has changed; what is told already, or older than what is, is not told again."""
        queue = circuit.queue_name
        if self.closed or queue not in self.queues or circuit.timestamp <= self._circuits.get(queue, -1):
            return
        self._circuits[queue] = circuit.timestamp
        frame = told_circuit(circuit).encoded(self.dialect)
        # With what the feed has just brought, if it did: an answer would be written before that, and might block.
        if not self._hub.cork.offer(self.outlet, frame):
            self.outlet.push(frame)

    def fall_behind(self, watch: Watch | QueueWatch, last: Position | None) -> None:
        """The outlet had no room for what follows ``last``: it is read from the record once there is."""
        watch.lag(last)
        self._hub.metrics.lagged.inc()
        self.catch_up(watch)

    # What reads for it what it missed.

    def offer(self, message: Message) -> bool:
        return self.closed or self.outlet.offer(message.encoded(self.dialect))

    def push(self, message: Message) -> None:
        if not self.closed:
            self.outlet.push(message.encoded(self.dialect))

    def _check_in(self) -> None:
        if self.closed:
            # A call that was under way: what it began to watch now, nobody would ever leave.
            raise Unavailable("this connection is closed; connect again")
        if len(self.jobs) + len(self.queues) >= self._most:
            raise TooManySubscriptions(
                f"one client may watch {self._most} jobs and queues; unsubscribe from some first"
            )
        if self._hub.stale:
            self.lost()
