"""What a client missed is read for it, one record after the other, while it has room: one task for each client."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from jobcast.gateway.freshness import Informed
from jobcast.gateway.hub import Hub
from jobcast.gateway.outlet import Outlet
from jobcast.gateway.queue_plan import MOST_CHANGES
from jobcast.gateway.queue_watch import QueueWatch
from jobcast.gateway.watch import Opened, Watch
from jobcast.gateway.wire import Message
from jobcast.shared import logs
from jobcast.shared.circuit_words import Circuit
from jobcast.shared.errors import Unavailable
from jobcast.shared.journal.contract import Ask, Changes, Reading
from jobcast.shared.snapshot import Snapshot, build
from jobcast.shared.states import LIVE

RETRY_READING: Final = 0.5
MOST_INTRODUCED: Final = 200
"""Live jobs of a queue told to who begins to watch it, last changed first; of any other its next event tells."""
BATCH: Final = 16
"""Jobs of a queue read at once."""
log = logs.get("client")


class CatchUp(Informed):
    """A client's part in it."""

    __slots__ = ("_behind", "_circuits", "_hub", "_reader", "id", "outlet")

    def __init__(self, client_id: str, hub: Hub, outlet: Outlet) -> None:
        super().__init__()
        self.id = client_id
        self.outlet = outlet
        self._hub = hub
        self._behind: dict[Watch | QueueWatch, None] = {}
        self._circuits: dict[str, int] = {}
        """When the circuit of each watched queue had changed last, as far as this client was told."""
        self._reader: asyncio.Task[None] | None = None

    # What the client does.

    def offer(self, message: Message) -> bool:
        """Send an event; False when there is no room for it."""
        raise NotImplementedError

    def push(self, message: Message) -> None:
        """Send what is no event."""
        raise NotImplementedError

    def take(self, watch: Watch | QueueWatch, message: Message) -> None:
        """An event from the feed."""
        raise NotImplementedError

    def close(self, reason: str) -> None:
        raise NotImplementedError

    # The task.

    @property
    def level(self) -> bool:
        return not self._behind and (self._reader is None or self._reader.done())

    def catch_up(self, watch: Watch | QueueWatch) -> None:
        """Read the record for a watch that is behind, now or once the client has room again."""
        if watch.behind:
            self._wait(watch)

    def abandon(self, watch: Watch | QueueWatch) -> None:
        """Whatever is still read for this watch is for nobody."""
        watch.abandoned = True
        self._behind.pop(watch, None)

    def _wait(self, watch: Watch | QueueWatch) -> None:
        if not watch.abandoned and not self.closed:
            self._behind[watch] = None
            self._room()

    def _room(self) -> None:
        """There may be room again."""
        if self._behind and self.outlet.roomy and (self._reader is None or self._reader.done()):
            self._reader = asyncio.create_task(self._read_behind(), name=f"catch-up-{self.id}")
            self._reader.add_done_callback(self._reader_ended)

    def _stop_reading(self) -> None:
        self._behind.clear()
        if self._reader is not None:
            self._reader.cancel()

    def _reader_ended(self, reader: asyncio.Task[None]) -> None:
        """A client whose reader broke would wait for ever: let it go, it may resume by position."""
        if not reader.cancelled() and (error := reader.exception()) is not None:
            log.error("catching up failed", client=self.id, exc_info=error)
            self.close("failed")
        else:
            self.caught_up()

    async def _read_behind(self) -> None:
        while self._behind and self.outlet.roomy:
            # Jobs first: they cost one reading each, a queue as many as it has jobs.
            watch = next((each for each in self._behind if isinstance(each, Watch)), None) or next(iter(self._behind))
            del self._behind[watch]
            try:
                if isinstance(watch, Watch):
                    self._open(watch, watch.opened(await self._hub.read(watch.job_id, watch.begin_reading())))
                else:
                    await self._read_queue(watch)
            except Unavailable:
                if isinstance(watch, Watch):
                    watch.lag(watch.last)
                if not watch.abandoned:
                    self._behind[watch] = None
                await asyncio.sleep(RETRY_READING)

    # A job.

    def _open(self, watch: Watch, opened: Opened) -> Opened:
        """Send what a reading made of a job's watch."""
        if watch.abandoned:
            return opened
        for message in opened.introduction:
            self.push(message)
        last = opened.start
        for message in opened.events:
            if not self.offer(message):
                watch.lag(last)
                break
            last = message.position
        self.catch_up(watch)
        return opened

    # A queue.

    async def _open_queue(self, watch: QueueWatch) -> list[Snapshot]:
        """Tell what was missed since a position, or else the jobs that are live now; answers those in any case."""
        await self._read_circuit(watch.queue)
        journal, since = self._hub.journal, watch.begin()
        if since is not None:
            changes = await journal.changes(watch.queue, since, MOST_CHANGES)
        else:
            (place,) = await journal.queue_positions([watch.queue])
            changes = Changes(place, None, continued=False)
        page = await journal.jobs(watch.queue, limit=MOST_INTRODUCED, live=True)
        readings = zip(page.job_ids, await journal.read_many(page.job_ids), strict=True)
        live = {job_id: each for job_id, each in readings if each.fields.get("state", b"").decode() in LIVE}
        self._begin_anew(watch.plan(changes, live))
        await self._go_on(watch, {} if watch.recovered else live)
        return [build(job_id, reading) for job_id, reading in live.items()]

    async def _read_queue(self, watch: QueueWatch) -> None:
        """The same for one that was open before, from where it is, or go on with it."""
        if not watch.todo.open:
            await self._read_circuit(watch.queue)
            changes = await self._hub.journal.changes(watch.queue, watch.begin(), MOST_CHANGES)
            live: list[str] = []
            if changes.job_ids is None:
                live = (await self._hub.journal.jobs(watch.queue, limit=MOST_INTRODUCED, live=True)).job_ids
            self._begin_anew(watch.plan(changes, live))
        await self._go_on(watch, {})

    async def _read_circuit(self, queue: str) -> None:
        """A change may be what the feed lost; and to who begins, one that is closed, as nearly all are, is no news."""
        if self._hub.circuits is not None:
            circuit = await self._hub.circuits.read(queue)
            if circuit.state != "closed" or queue in self._circuits:
                self.tell_circuit(circuit)

    def tell_circuit(self, circuit: Circuit) -> None:
        raise NotImplementedError

    def _begin_anew(self, message: Message | None) -> None:
        if message is not None:
            self.push(message)

    async def _go_on(self, watch: QueueWatch, known: Mapping[str, Reading]) -> None:
        while not watch.abandoned and (asked := watch.asked(BATCH)):
            # As many jobs at once as there is room for: two hundred large snapshots in one breath would close even the
            # best of readers as slow. And a job that is watched by itself does not wait for all jobs of a queue.
            if not self.outlet.roomy or any(isinstance(other, Watch) for other in self._behind):
                self._wait(watch)
                return
            readings = [known[each.job_id] for each in asked if each.job_id in known]
            if len(readings) < len(asked):
                self._hub.metrics.readings.inc(len(asked))
                readings = await self._hub.journal.read_each(watch.queue, asked)
            self._tell_jobs(watch, asked, readings)
        end = watch.goal
        if watch.todo.begun:
            (end,) = await self._hub.journal.queue_positions([watch.queue])
        if watch.abandoned:
            return
        here, held = watch.level(end)
        if here is not None:
            self.push(here)
        for message in held:
            self.take(watch, message)
        watch.settle()
        self.catch_up(watch)

    def _tell_jobs(self, watch: QueueWatch, asked: Sequence[Ask], readings: Sequence[Reading]) -> None:
        for each, reading in zip(asked, readings, strict=True):
            if watch.abandoned or not self.outlet.roomy or not self._tell_job(watch, each, reading):
                return

    def _tell_job(self, watch: QueueWatch, asked: Ask, reading: Reading) -> bool:
        """False when what comes next is to be asked for anew."""
        told = watch.tell(asked, reading)
        if told is None:
            return False
        for message in told.introduction:
            self.push(message)
        for message in told.events:
            if not self.offer(message):
                watch.full()
                return False
            watch.sent(message)
        watch.todo.done()
        return True
