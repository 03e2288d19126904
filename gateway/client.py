"""One connected client, whatever its door: its watches, and the task that reads what it missed."""

import asyncio
import secrets
from collections.abc import Callable
from typing import Any, Final

import msgspec

from jobcast.gateway.allowance import Allowance
from jobcast.gateway.freshness import Informed
from jobcast.gateway.hub import Hub
from jobcast.gateway.outlet import Outlet
from jobcast.gateway.sinks import JobSink, QueueSink
from jobcast.gateway.watch import Opened, Watch
from jobcast.gateway.wire import Dialect, Message
from jobcast.shared import logs
from jobcast.shared.clock import now_ms
from jobcast.shared.errors import TooManySubscriptions, Unavailable
from jobcast.shared.journal.contract import Reading
from jobcast.shared.position import Position
from jobcast.shared.snapshot import build
from jobcast.shared.states import LIVE

RETRY_READING: Final = 0.5
log = logs.get("client")
_encode: Final = msgspec.json.Encoder().encode


class Client(Informed):
    """What every door has in common. ``door`` names it in the metrics, ``dialect`` writes what goes to its ``outlet``.

    ``most`` bounds what it may watch at once; ``on_close`` (client, reason) is called once: the door hangs up then.
    """

    __slots__ = (
        "_behind",
        "_hub",
        "_most",
        "_on_close",
        "_reader",
        "allowance",
        "closed",
        "dialect",
        "door",
        "id",
        "jobs",
        "outlet",
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
        super().__init__()
        self.id = secrets.token_urlsafe(12)
        self.door = door
        self.outlet = outlet
        self.dialect = dialect
        self.closed = False
        self.allowance = allowance
        self.jobs: dict[str, JobSink] = {}
        self.queues: dict[str, QueueSink] = {}
        self._hub = hub
        self._most = most
        self._on_close = on_close
        self._behind: dict[Watch, None] = {}
        self._reader: asyncio.Task[None] | None = None
        outlet.on_room.append(self._room)
        hub.metrics.clients[door].inc()

    # What a door calls.

    def greet(self) -> None:
        """The first thing a client is told, by every door that can say it."""
        self.say("connected", {"message": "connected", "clientId": self.id, "timestamp": now_ms()})

    def say(self, name: str, payload: Any) -> None:
        """Send an answer that is no event; a client that does not read its answers is closed as slow."""
        self._push(Message(name, _encode([name, payload]), ""))

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
        self._behind.clear()
        if self._reader is not None:
            self._reader.cancel()
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
        for queue in self.queues.values():
            queue.lend(job_id)
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

    async def watch_queue(self, queue: str, most: int = 200) -> list[Opened]:
        """Watch every job of a queue; answers the jobs that are live now, last changed first."""
        self.unwatch_queue(queue)
        self._check_in()
        sink = self.queues[queue] = QueueSink(self)
        self._hub.metrics.watches.inc()
        try:
            await self._hub.join_queue(queue, sink)
            page = await self._hub.journal.jobs(queue, limit=most, live=True)
            readings = await self._hub.journal.read_many(page.job_ids)
        except BaseException:
            if self.queues.get(queue) is sink:
                self.unwatch_queue(queue)
            raise
        opened = []
        for job_id, reading in zip(page.job_ids, readings, strict=True):
            if job_id in sink.watches or reading.fields.get("state", b"").decode() not in LIVE:
                continue
            watch = Watch(job_id)
            sink.add(watch)
            opened.append(self._introduce(watch, reading))
        return opened

    def _introduce(self, watch: Watch, reading: Reading) -> Opened:
        """As many jobs at once as the outbox has room for: the others are read again when it is empty enough.

        Two hundred large snapshots in one breath would close even the best of readers as slow.
        """
        if watch.job_id in self.jobs:
            return watch.opened(reading)
        if self.outlet.roomy:
            return self._open(watch, watch.opened(reading))
        watch.lag(None)
        self.catch_up(watch)
        return Opened(build(watch.job_id, reading), recovered=False, introduction=[], start=None, events=[])

    def unwatch_queue(self, queue: str) -> None:
        sink = self.queues.pop(queue, None)
        if sink is not None:
            for watch in sink.watches.values():
                self.abandon(watch)
            self._hub.leave_queue(queue, sink)
            self._hub.metrics.watches.dec()

    # What the sinks call.

    def take(self, watch: Watch, message: Message) -> None:
        """An event from the feed, for one of our watches."""
        last = watch.last
        sent = watch.live(message)
        if sent is None:
            if watch.behind:
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

    def fall_behind(self, watch: Watch, last: Position | None) -> None:
        """The outlet had no room for what follows ``last``: it is read from the record once there is."""
        watch.lag(last)
        self._hub.metrics.lagged.inc()
        self.catch_up(watch)

    def catch_up(self, watch: Watch) -> None:
        """Read the record for a watch that is behind, now or once the client has room again."""
        if watch.behind and not watch.abandoned and not self.closed:
            self._behind[watch] = None
            if self.outlet.roomy:
                self._start_reader()

    @property
    def level(self) -> bool:
        return not self._behind and (self._reader is None or self._reader.done())

    def abandon(self, watch: Watch) -> None:
        """Whatever is still read for this watch is for nobody."""
        watch.abandoned = True
        self._behind.pop(watch, None)

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

    def _open(self, watch: Watch, opened: Opened) -> Opened:
        if watch.abandoned:
            return opened
        for message in opened.introduction:
            self._push(message)
        last = opened.start
        for message in opened.events:
            if not self._offer(message):
                watch.lag(last)
                break
            last = message.position
        self.catch_up(watch)
        return opened

    def _offer(self, message: Message) -> bool:
        return self.closed or self.outlet.offer(message.encoded(self.dialect))

    def _push(self, message: Message) -> None:
        if not self.closed:
            self.outlet.push(message.encoded(self.dialect))

    def _room(self) -> None:
        """The outlet has sent what it kept."""
        if self._behind:
            self._start_reader()

    def _start_reader(self) -> None:
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read_behind(), name=f"catch-up-{self.id}")
            self._reader.add_done_callback(self._reader_ended)

    def _reader_ended(self, reader: asyncio.Task[None]) -> None:
        """A client whose reader broke would wait for ever: let it go, it may resume by position."""
        if not reader.cancelled() and (error := reader.exception()) is not None:
            log.error("catching up failed", client=self.id, exc_info=error)
            self.close("failed")
        else:
            self.caught_up()

    async def _read_behind(self) -> None:
        """Read records one after the other while there is room: one task a client, however many jobs it watches."""
        while self._behind and self.outlet.roomy:
            watch = next(iter(self._behind))
            del self._behind[watch]
            try:
                reading = await self._hub.read(watch.job_id, watch.begin_reading())
            except Unavailable:
                watch.lag(watch.last)
                if not watch.abandoned:
                    self._behind[watch] = None
                await asyncio.sleep(RETRY_READING)
                continue
            self._open(watch, watch.opened(reading))
