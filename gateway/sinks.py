"""What stands between a channel of the hub and the watches of a client. Values in, values out; no I/O."""

from typing import Protocol

from jobcast.gateway.outlet import Outlet
from jobcast.gateway.queue_watch import QueueWatch
from jobcast.gateway.watch import Watch
from jobcast.gateway.wire import Dialect, Message
from jobcast.shared.circuit_words import Circuit
from jobcast.shared.position import Position


class Watcher(Protocol):
    """The client, as its sinks see it."""

    outlet: Outlet
    dialect: Dialect

    def take(self, watch: Watch | QueueWatch, message: Message) -> None: ...

    def fall_behind(self, watch: Watch, last: Position | None) -> None: ...

    def catch_up(self, watch: Watch | QueueWatch) -> None: ...

    def tell_circuit(self, circuit: Circuit) -> None: ...


class JobSink:
    """A job, watched by a client."""

    __slots__ = ("client", "watch")

    def __init__(self, client: Watcher, watch: Watch) -> None:
        self.client = client
        self.watch = watch

    @property
    def step(self) -> Position | None:
        return self.watch.step

    def resume(self, last: Position) -> None:
        self.watch.last = last

    def refuse(self, last: Position | None) -> None:
        """There was no room for what follows ``last``."""
        self.client.fall_behind(self.watch, last)

    def receive(self, message: Message) -> None:
        self.client.take(self.watch, message)

    def suspect(self) -> None:
        self.watch.suspect()
        self.client.catch_up(self.watch)

    def verify(self, position: Position) -> bool:
        heard = self.watch.verify(position)
        self.client.catch_up(self.watch)
        return heard


class QueueSink:
    """A queue, watched by a client.

    A job that the client watches by itself too is told by that watch alone, until :meth:`take_back`.
    """

    __slots__ = ("client", "watch")

    def __init__(self, client: Watcher, watch: QueueWatch) -> None:
        self.client = client
        self.watch = watch

    def receive(self, message: Message) -> None:
        self.client.take(self.watch, message)

    def suspect(self) -> None:
        self.watch.suspect()
        self.client.catch_up(self.watch)

    def verify(self, position: Position) -> bool:
        heard = self.watch.verify(position)
        self.client.catch_up(self.watch)
        return heard

    def take_back(self, job_id: str, left: Watch) -> None:
        """The client has left its own watch: go on from where that one was, and read what it had not been sent."""
        self.watch.owe(job_id, left.last, level=left.step is not None)
        self.client.catch_up(self.watch)
