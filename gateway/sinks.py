"""What stands between a channel of the hub and the watches of a client. Values in, values out; no I/O."""

from collections import OrderedDict
from typing import Final, Protocol

from jobcast.gateway.outlet import Outlet
from jobcast.gateway.watch import Watch
from jobcast.gateway.wire import Dialect, Message
from jobcast.shared.position import Position

MOST_JOBS_OF_A_QUEUE: Final = 1000
"""Jobs of one watched queue whose position is kept; the one unheard of for longest is forgotten first."""


class Watcher(Protocol):
    """The client, as its sinks see it."""

    outlet: Outlet
    dialect: Dialect

    def take(self, watch: Watch, message: Message) -> None: ...

    def fall_behind(self, watch: Watch, last: Position | None) -> None: ...

    def catch_up(self, watch: Watch) -> None: ...

    def abandon(self, watch: Watch) -> None: ...

    def watches(self, job_id: str) -> bool: ...


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


class QueueSink:
    """A queue, watched by a client: one watch for each of its jobs, begun when the job is first heard of."""

    __slots__ = ("client", "watches")

    def __init__(self, client: Watcher) -> None:
        self.client = client
        self.watches: OrderedDict[str, Watch] = OrderedDict()

    def receive(self, message: Message) -> None:
        watch = self.watches.get(message.job_id)
        if watch is None:
            watch = self._begin(message)
        else:
            self.watches.move_to_end(message.job_id)
        if self.client.watches(message.job_id):
            # It is told by the job's own watch; ours only keeps count, to go on when that one is left.
            watch.live(message)
        else:
            self.client.take(watch, message)
        if message.ends_job and not watch.behind:
            del self.watches[message.job_id]

    def suspect(self) -> None:
        for watch in self.watches.values():
            watch.suspect()
            if not self.client.watches(watch.job_id):
                self.client.catch_up(watch)

    def add(self, watch: Watch) -> None:
        self.watches[watch.job_id] = watch
        if len(self.watches) > MOST_JOBS_OF_A_QUEUE:
            # Still behind, it would be read beside the watch that the job's next event begins.
            self.client.abandon(self.watches.popitem(last=False)[1])

    def _begin(self, message: Message) -> Watch:
        watch = Watch(message.job_id)
        if message.position is not None and message.position.seq == 1:
            watch.phase = "live"
        else:
            watch.lag(None)
        self.add(watch)
        return watch
