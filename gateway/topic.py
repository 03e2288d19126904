"""One followed channel and who is on it: most of them in step, the others each on their own."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from jobcast.gateway.lane import Lane
from jobcast.gateway.metrics import Metrics
from jobcast.gateway.outlet import Cork
from jobcast.gateway.sinks import JobSink
from jobcast.gateway.wire import Dialect, Message
from jobcast.shared import logs
from jobcast.shared.position import Position

log = logs.get("hub")


class Sink(Protocol):
    """Whoever wants the events of a channel. Both calls must return at once and keep what they cannot send."""

    def receive(self, message: Message) -> None: ...

    def suspect(self) -> None:
        """Events may have been lost: what was sent last must be compared with the record."""


class Topic:
    """``job_id`` is None for a queue's channel; ``ready`` ends when Redis has confirmed that it is followed."""

    __slots__ = ("_cork", "_lane", "_metrics", "_sinks", "channel", "job_id", "leaving", "ready")

    def __init__(
        self, channel: bytes, job_id: str | None, ready: "asyncio.Task[None]", cork: Cork, metrics: Metrics
    ) -> None:
        self.channel = channel
        self.job_id = job_id
        self.ready = ready
        self.leaving: asyncio.TimerHandle | None = None
        self._cork = cork
        self._metrics = metrics
        # Dicts for their order: watchers are served in the order they came.
        self._sinks: dict[Sink, None] = {}
        self._lane = Lane()

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
            return True
        return False

    def suspect(self) -> None:
        self._part()
        for sink in tuple(self._sinks):
            sink.suspect()

    def deliver(self, messages: Sequence[Message]) -> None:
        """Hand on the next events of this channel, in order."""
        if self._lane.members:
            self._to_lane(messages)
        if self._sinks:
            self._to_each(messages)

    def _to_lane(self, messages: Sequence[Message]) -> None:
        if self._lane.follows(messages):
            self._send(messages)
            return
        for message in messages:
            if self._lane.follows((message,)):
                self._send((message,))
            elif not self._lane.is_old(message):
                # An event is missing, or the record began anew: each finds out for itself, from where it is.
                self._part()
                return

    def _send(self, messages: Sequence[Message]) -> None:
        """The hot path: nothing is decided here for each watcher but whether its connection takes the bytes."""
        lane = self._lane
        before, lane.last = lane.last, messages[-1].position
        offer = self._cork.offer if self._cork.active else None
        frames: dict[Dialect, bytes] = {}
        sink: JobSink
        for sink in tuple(lane.members):  # type: ignore[assignment]  # only those are admitted
            client = sink.client
            frame = frames.get(client.dialect)
            if frame is None:
                frame = frames[client.dialect] = _joined(messages, client.dialect)
            try:
                taken = client.outlet.offer(frame) if offer is None else offer(client.outlet, frame)
            except Exception:  # noqa: BLE001  whatever a connection may raise
                # One watcher's fault is not the others' loss; its own is read again from the record.
                self._failed(messages[0])
                taken = False
            if not taken:
                self._drop_out(sink, before)
        self._metrics.sent.inc(len(lane.members) * len(messages))

    def _drop_out(self, sink: JobSink, last: Position | None) -> None:
        # A failed write may have closed the client, which then has left already.
        if sink in self._lane.members:
            del self._lane.members[sink]
            self._sinks[sink] = None
            sink.refuse(last)

    def _part(self) -> None:
        for runner in self._lane.dissolve():
            assert isinstance(runner, JobSink)
            self._sinks[runner] = None

    def _to_each(self, messages: Sequence[Message]) -> None:
        latest = messages[-1].position
        for sink in tuple(self._sinks):
            for message in messages:
                self._hand(sink, message)
            if isinstance(sink, JobSink) and sink in self._sinks and self._lane.admit(sink, latest):
                del self._sinks[sink]

    def _hand(self, sink: Sink, message: Message) -> None:
        try:
            sink.receive(message)
        except Exception:  # noqa: BLE001  the same
            self._failed(message)

    def _failed(self, message: Message) -> None:
        self._metrics.sink_errors.inc()
        log.exception("a watcher failed to take an event", job=message.job_id)  # noqa: LOG004  called from handlers


def _joined(messages: Sequence[Message], dialect: Dialect) -> bytes:
    if len(messages) == 1:
        return dialect.encode(messages[0])
    return dialect.join([dialect.encode(message) for message in messages])
