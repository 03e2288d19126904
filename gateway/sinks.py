"""What stands between a channel of the hub and the watches of a client. Values in, values out; no I/O."""

from collections import OrderedDict
from collections.abc import Mapping
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

    @property
    def jobs(self) -> Mapping[str, object]:
        """The jobs that have a watch of their own."""
        ...


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
    """A queue, watched by a client: one watch for each of its jobs, begun when the job is first heard of.

    A job that the client watches by itself too is told by that watch alone: ours stands by from :meth:`lend` until
    :meth:`take_back`, which gives it the place that the other one had reached.
    """

    __slots__ = ("client", "watches")

    def __init__(self, client: Watcher) -> None:
        self.client = client
        self.watches: OrderedDict[str, Watch] = OrderedDict()

    def receive(self, message: Message) -> None:
        watch = self.watches.get(message.job_id)
        if message.job_id in self.client.jobs:
            self.add(watch or Watch(message.job_id))
            return
        if watch is None:
            watch = self._begin(message)
        else:
            self.watches.move_to_end(message.job_id)
        self.client.take(watch, message)
        if message.ends_job and not watch.behind:
            del self.watches[message.job_id]

    def suspect(self) -> None:
        for watch in self.watches.values():
            if watch.job_id not in self.client.jobs:
                watch.suspect()
                self.client.catch_up(watch)

    def lend(self, job_id: str) -> None:
        """The client begins to watch this job by itself: what ours still owes is told by the other watch."""
        watch = self.watches.get(job_id)
        if watch is not None:
            self.client.abandon(watch)
            self.watches[job_id] = Watch(job_id)

    def take_back(self, job_id: str, left: Watch) -> None:
        """The client has left its own watch: go on from where that one was, and read what it had not been sent."""
        if job_id not in self.watches:
            return
        watch = self.watches[job_id] = Watch(job_id)
        if left.step is None:
            watch.lag(left.last)
            self.client.catch_up(watch)
        else:
            watch.last, watch.phase = left.last, "live"

    def add(self, watch: Watch) -> None:
        self.watches[watch.job_id] = watch
        self.watches.move_to_end(watch.job_id)
        if len(self.watches) > MOST_JOBS_OF_A_QUEUE:
            # One that stands by is needed when the client leaves the job; there are no more than it may watch.
            longest = next((job_id for job_id in self.watches if job_id not in self.client.jobs), None)
            if longest is not None:
                # Still behind, it would be read beside the watch that the job's next event begins.
                self.client.abandon(self.watches.pop(longest))

    def _begin(self, message: Message) -> Watch:
        watch = Watch(message.job_id)
        if message.position is not None and message.position.seq == 1:
            watch.phase = "live"
        else:
            watch.lag(None)
        self.add(watch)
        return watch
