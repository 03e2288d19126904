"""One followed channel and who is on it: most of them in step, the others each on their own."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from jobcast.gateway.cork import Cork
from jobcast.gateway.lane import Lane
from jobcast.gateway.metrics import Metrics
from jobcast.gateway.outlet import Outlet
from jobcast.gateway.queue_words import heard_circuit
from jobcast.gateway.sinks import JobSink, QueueSink
from jobcast.gateway.wire import Dialect, Message, parse
from jobcast.shared import logs
from jobcast.shared.position import Position

log = logs.get("hub")


class Sink(Protocol):
    """Whoever wants the events of a channel. Both calls must return at once and keep what they cannot send."""

    def receive(self, message: Message) -> None: ...

    def suspect(self) -> None:
        """Events may have been lost: what was sent last must be compared with the record."""

    def verify(self, position: Position) -> bool:
        """All events up to this position have come: False if one of them was not heard of, which then is read."""
        ...


class Topic:
    """``job_id`` is None for a queue's channel; ``ready`` ends when Redis has confirmed that it is followed."""

    __slots__ = ("_cork", "_crews", "_lane", "_metrics", "_sinks", "channel", "job_id", "leaving", "ready")

    def __init__(
        self, channel: bytes, job_id: str | None, ready: "asyncio.Future[None]", cork: Cork, metrics: Metrics
    ) -> None:
        self.channel = channel
        self.job_id = job_id
        self.ready = ready
        self.leaving: asyncio.TimerHandle | None = None
        self._cork = cork
        self._metrics = metrics
        # Dicts for their order: watchers are served in the order they came.
        self._sinks: dict[Sink, None] = {}
        self._lane: Lane[JobSink] = Lane(job_id or "")
        self._crews: dict[Dialect, list[Outlet]] | None = None
        """The lane's connections by what is written to them; None when they are to be mustered anew."""

    def __len__(self) -> int:
        return len(self._sinks) + len(self._lane.members)

    def add(self, sink: Sink) -> None:
        self._sinks[sink] = None

    def remove(self, sink: Sink) -> bool:
        """False when it was not here."""
        if sink in self._sinks:
            del self._sinks[sink]
            return True
        if isinstance(sink, JobSink) and sink in self._lane.members:
            self._lane.leave(sink)
            self._crews = None
            return True
        return False

    def moved(self, sink: Sink) -> None:
        """Its client goes on by another connection."""
        if self.remove(sink):
            self.add(sink)

    def suspect(self) -> None:
        self._part()
        for sink in tuple(self._sinks):
            sink.suspect()

    def verify(self, position: Position) -> bool:
        """The record holds an event of this position, and all up to it have come: False when one was not heard of."""
        if self._lane.members and position.is_news(self._lane.last):
            self._part()
        # Each must look, whatever another says.
        heard = [sink.verify(position) for sink in tuple(self._sinks)]
        return all(heard)

    def deliver(self, wires: Sequence[bytes]) -> None:
        """Hand on what was published on this channel, in order."""
        if not self._sinks and self._lane.members and self._lane.take(wires):
            # The hot path: nothing was parsed.
            self._send(wires)
            return
        messages = self._read(wires)
        if not messages:
            # All of it was kept out. No door can write nothing: SSE broke on it, and took the feed along.
            return
        if self._lane.members:
            self._to_lane(messages)
        if self._sinks:
            self._to_each(messages)

    def _read(self, wires: Sequence[bytes]) -> list[Message]:
        """The events; bytes that are no event of this channel are counted and kept out."""
        messages: list[Message] = []
        for wire in wires:
            message = parse(wire)
            if message is not None and self._is_here(message):
                messages.append(message)
            elif message is not None or not self._tell_circuit(wire):
                self._keep_out(message)
        return messages

    def _tell_circuit(self, wire: bytes) -> bool:
        """Hand on a change of the queue's circuit breaker; False when it is none of this queue's."""
        circuit = heard_circuit(wire) if self.job_id is None else None
        if circuit is None or not self.channel.endswith(b"{%b}" % circuit.queue_name.encode()):
            return False
        for sink in tuple(self._sinks):
            if isinstance(sink, QueueSink):
                sink.client.tell_circuit(circuit)
        return True

    def _is_here(self, message: Message) -> bool:
        return message.queue_position is not None if self.job_id is None else message.job_id == self.job_id

    def _keep_out(self, message: Message | None) -> None:
        self._metrics.quarantined.inc()
        if message is None:
            log.warning(
                "something that is no event was published and kept out", channel=self.channel.decode(errors="replace")
            )
        else:
            log.warning("an event was published on the channel of another job and kept out", job=message.job_id)

    # In step.

    def _to_lane(self, messages: Sequence[Message]) -> None:
        wires = [message.wire for message in messages]
        if self._lane.take(wires):
            self._send(wires)
            return
        for message in messages:
            if self._lane.go_on(message):
                self._send((message.wire,))
            elif not self._lane.is_old(message):
                # An event is missing, or the record began anew: each finds out for itself, from where it is.
                self._part()
                return

    def _send(self, wires: Sequence[bytes]) -> None:
        """Nothing is decided here for each watcher but whether its connection takes the bytes."""
        crews = self._crews
        if crews is None:
            crews = self._crews = self._muster()
        for dialect, outlets in crews.items():
            event = dialect.event
            frame = event(wires[0]) if len(wires) == 1 else dialect.join([event(wire) for wire in wires])
            refused = self._cork.offer_all(outlets, frame)
            if refused:
                self._drop_out(dialect, set(refused), len(wires))
        self._metrics.sent.inc(len(self._lane.members) * len(wires))

    def _muster(self) -> dict[Dialect, list[Outlet]]:
        crews: dict[Dialect, list[Outlet]] = {}
        for sink in self._lane.members:
            crews.setdefault(sink.client.dialect, []).append(sink.client.outlet)
        return crews

    def _drop_out(self, dialect: Dialect, refused: set[Outlet], events: int) -> None:
        """Who had no room for the last events goes on alone, from before them."""
        self._crews = None
        epoch, seq = self._lane.last
        # A failed write may have closed a client, which then has left already.
        for sink in tuple(self._lane.members):
            if sink.client.dialect is dialect and sink.client.outlet in refused:
                del self._lane.members[sink]
                self._sinks[sink] = None
                sink.refuse(Position(epoch, seq - events))

    def _part(self) -> None:
        self._crews = None
        for runner in self._lane.dissolve():
            self._sinks[runner] = None

    # Each for itself.

    def _to_each(self, messages: Sequence[Message]) -> None:
        latest = messages[-1].position
        for sink in tuple(self._sinks):
            receive = sink.receive
            for message in messages:
                try:
                    receive(message)
                except Exception:
                    # One watcher's fault is not the others' loss.
                    self._metrics.sink_errors.inc()
                    log.exception("a watcher failed to take an event", job=message.job_id)
            if isinstance(sink, JobSink) and sink in self._sinks and self._lane.admit(sink, latest):
                del self._sinks[sink]
                self._crews = None
