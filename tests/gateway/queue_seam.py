"""A queue's watch in a world that loses, repeats and delays: the simulation behind test_queue_seam.

As in ``seam``, for the jobs of a queue. What reads is the client's own code, one answer of the record at a time; the
answer is made when Redis is asked and arrives when the script says.
"""

from collections.abc import Callable, Coroutine, Generator
from typing import Any

import msgspec

from jobcast.gateway.catchup import CatchUp
from jobcast.gateway.hub import Hub
from jobcast.gateway.metrics import Metrics
from jobcast.gateway.outbox import Outbox
from jobcast.gateway.outlet import Outlet
from jobcast.gateway.queue_watch import QueueWatch
from jobcast.gateway.queue_words import QUEUE_POSITION, QUEUE_RESET
from jobcast.gateway.watch import Watch
from jobcast.gateway.wire import Message, parse
from jobcast.shared.errors import Refused
from jobcast.shared.journal import MemoryJournal
from jobcast.shared.journal.contract import Life, Reading
from jobcast.shared.keys import Keys
from jobcast.shared.position import Position
from jobcast.shared.states import LIVE, TERMINAL
from tests.gateway.events import QUEUE, completed, failed, logged, progressed, queued, started
from tests.gateway.seam import Ledger, now

JOBS = ("a", "b", "c")


class Later:
    """Waits until the script goes on."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class SlowJournal(MemoryJournal):
    """What it answers is true when it was asked, and arrives later."""

    on_jobs: Callable[[], None]

    async def changes(self, *asked: Any) -> Any:
        answer = await super().changes(*asked)
        await Later()
        return answer

    async def jobs(self, *asked: Any, **more: Any) -> Any:
        self.on_jobs()
        answer = await super().jobs(*asked, **more)
        await Later()
        return answer

    async def queue_positions(self, *asked: Any) -> Any:
        answer = await super().queue_positions(*asked)
        await Later()
        return answer

    async def read_each(self, *asked: Any) -> Any:
        answer = await super().read_each(*asked)
        await Later()
        return answer


class SlowHub(Hub):
    """A hub whose readings are not shared with others."""

    async def read(self, job_id: str, since: Position | None = None) -> Reading:
        reading = await self.journal.read(job_id, since)
        await Later()
        return reading


class Client(CatchUp):
    """A client that reads when the script says so."""

    def __init__(self, hub: Hub, outlet: "Kept") -> None:
        super().__init__("simulated", hub, outlet)
        self.closed = False
        self.kept = outlet

    def say(self, name: str, payload: Any) -> None:
        raise AssertionError(f"nothing is to be said: {name} {payload}")

    def _room(self) -> None:
        """The script decides when."""

    @property
    def waits(self) -> bool:
        return bool(self._behind)

    def read_behind(self) -> Coroutine[Any, Any, None]:
        return self._read_behind()

    def open_queue(self, watch: QueueWatch) -> Coroutine[Any, Any, Any]:
        return self._open_queue(watch)

    def offer(self, message: Message) -> bool:
        return self.kept.outbox.offer(message.wire)

    def push(self, message: Message) -> None:
        self.kept.outbox.push(message.wire)

    def take(self, watch: Watch | QueueWatch, message: Message) -> None:
        last = watch.last
        sent = watch.live(message)
        if sent is not None and not self.offer(sent):
            watch.lag(last)
        self.catch_up(watch)


class Kept(Outlet):
    """Everything is kept until the client reads."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox(mark=700)


class Board:
    """What one client knows of a queue: a ledger for each job, and where to resume."""

    def __init__(self, progress: set[Position]) -> None:
        self.ledgers: dict[str, Ledger] = {}
        self.progress = progress
        self.place: Position | None = None
        self.resumed = False
        self._since_place: set[Position] = set()
        """Told since the place moved last: by a catching-up, which may be cut off and then tells it again."""
        self._again: set[Position] = set()
        self._cut = False
        """It was cut off, and what comes now is told from its beginning."""

    def resume(self) -> Position | None:
        """The connection broke: what the next one is to begin with."""
        self.resumed = True
        self._again |= self._since_place
        self._cut = self._cut or bool(self._again)
        return self.place

    def hear(self, wire: bytes) -> None:
        name, payload = msgspec.json.decode(wire)
        if name == QUEUE_POSITION:
            self._move(payload)
            self._again.clear()
            self._cut = False
            return
        if name == QUEUE_RESET:
            self.ledgers, self.place, self.resumed = {}, None, False
            self._since_place.clear()
            self._again.clear()
            self._cut = False
            return
        moved = "queuePosition" in payload and self._move(payload["queuePosition"])
        ledger = self.ledgers.setdefault(payload["jobId"], Ledger())
        ledger.progress = self.progress
        at = Position(payload["epoch"], payload["seq"])
        if not moved:
            self._since_place.add(at)
        if "state" not in payload:
            if at in self._again:
                self._again.discard(at)
                return
            if ledger.over and at.seq == 1 and ledger.position is not None and at.epoch != ledger.position.epoch:
                # The id of a job that is over is used again.
                ledger.position = None
            if self.resumed and ledger.position is None:
                # Of a job that was over before this client began, say: it is met in its midst.
                ledger.position = at._replace(seq=at.seq - 1 - payload.get("skipped", 0))
            if self._cut and ledger.position is not None:
                # Events that were told before are skipped once more.
                payload["skipped"] = max(0, min(payload.get("skipped", 0), at.seq - 1 - ledger.position.seq))
                wire = msgspec.json.encode([name, payload])
        ledger.hear(wire)

    def _move(self, place: dict[str, Any]) -> bool:
        before, self.place = self.place, Position(place["epoch"], place["seq"])
        if before == self.place:
            return False
        self._since_place.clear()
        if before is not None:
            assert before.epoch == self.place.epoch, "another life of the queue began without a reset"
            assert before.seq < self.place.seq, "the place went back"
        return True


class QueueWorld:
    """``run`` takes a byte string as a list of what happens; then everything is read and the end is checked."""

    def __init__(self, history: int) -> None:
        self.journal = SlowJournal(Life(history=history), published=self._published)
        self.hub = SlowHub(self.journal, Keys(), Metrics())
        self.journal.on_jobs = self._introduced
        self.board = Board(set())
        self.attempts = dict.fromkeys(JOBS, 1)
        self.job = 0
        self.in_flight: list[Message] = []
        self.delivered: list[Message] = []
        self.touched: set[str] = set()
        """Jobs of which something happened since the client began to watch, or had to begin anew."""
        self.begin(None)
        self._steps = [
            *[self.next_job] * 4,
            *[self.progress] * 4,
            *[self.log] * 2,
            *[self.queue] * 2,
            *[self.start] * 2,
            self.complete,
            self.fail,
            *[self.deliver] * 8,
            self.repeat,
            self.lose,
            self.suspect,
            self.verify,
            *[self.read] * 8,
            *[self.drain] * 3,
            self.resume,
            self.forget,
        ]

    def begin(self, since: Position | None) -> None:
        if since is None:
            # Who has no place to resume from forgets every job.
            self.board = Board(self.board.progress)
        self.client = Client(self.hub, Kept())
        self.watch = QueueWatch(QUEUE, since, ())
        self.opening = True
        self.reading: list[Coroutine[Any, Any, Any]] = [self.client.open_queue(self.watch)]

    def run(self, script: bytes) -> None:
        try:
            for byte in script:
                self._steps[byte % len(self._steps)]()
            self._settle()
            self._check_end()
        finally:
            self._stop_reading()

    # The jobs.

    def next_job(self) -> None:
        self.job = (self.job + 1) % len(JOBS)

    def _append(self, make: Any, *more: Any) -> None:
        job = JOBS[self.job]
        try:
            now(self.journal.append(make(job, *more, self.attempts[job])))
        except Refused:
            return
        self.touched.add(job)

    def _published(self, _job: str, _queue: str, _wire: bytes, queue_wire: bytes) -> None:
        message = parse(queue_wire)
        assert message is not None
        assert message.position is not None
        if message.event_class == "progress":
            self.board.progress.add(message.position)
        self.in_flight.append(message)

    def queue(self) -> None:
        job = JOBS[self.job]
        if now(self.journal.read(job)).fields.get("state", b"").decode() in TERMINAL:
            self.attempts[job] += 1
        self._append(queued)

    def start(self) -> None:
        self._append(started)

    def progress(self) -> None:
        self._append(progressed, 50)

    def log(self) -> None:
        self._append(logged, "a line of some length, to fill an outbox with")

    def complete(self) -> None:
        self._append(completed)

    def fail(self) -> None:
        self._append(failed)

    # The feed.

    def deliver(self) -> None:
        if self.in_flight:
            message = self.in_flight.pop(0)
            self.delivered.append(message)
            self.client.take(self.watch, message)

    def repeat(self) -> None:
        for message in self.delivered[-2:]:
            self.client.take(self.watch, message)

    def lose(self) -> None:
        """What was under way is gone; somebody says so, or finds out, later."""
        self.in_flight.clear()

    def suspect(self) -> None:
        self.watch.suspect()
        self.client.catch_up(self.watch)

    def verify(self) -> None:
        """All that is under way arrives, and what was heard is compared with the record."""
        place = self.journal.place(QUEUE)
        while self.in_flight:
            self.deliver()
        if place is not None:
            self.watch.verify(place)
            self.client.catch_up(self.watch)

    def forget(self) -> None:
        """Redis comes back empty."""
        self.journal.forget()
        self.attempts = dict.fromkeys(JOBS, 1)
        self.touched.clear()
        self.delivered.clear()
        self.lose()

    # The gateway.

    def read(self) -> None:
        """The answer that is under way arrives, and the next question is asked."""
        if not self.reading and self.client.waits and self.client.kept.roomy:
            self.reading.append(self.client.read_behind())
        if self.reading:
            try:
                self.reading[0].send(None)
            except StopIteration:
                del self.reading[0]
                self.opening = False

    def _introduced(self) -> None:
        """To the jobs that are live now; of all others only what comes is told."""
        if self.opening and self.watch.last is None:
            self.touched = {job for job in self.touched if self._is_live(job)}

    def _is_live(self, job: str) -> bool:
        return now(self.journal.read(job)).fields.get("state", b"").decode() in LIVE

    # The client.

    def drain(self) -> None:
        for wire in self.client.kept.outbox.take(200):
            self.board.hear(wire)

    def resume(self) -> None:
        """The connection breaks; another one goes on from the last place that the client was told."""
        if self.opening:
            return
        self._stop_reading()
        self.in_flight.clear()
        self.delivered.clear()
        self.begin(self.board.resume())

    def _stop_reading(self) -> None:
        for each in self.reading:
            each.close()
        self.reading = []

    def _settle(self) -> None:
        while self.in_flight:
            self.deliver()
        self.suspect()
        while self.reading or self.client.waits or len(self.client.kept.outbox):
            self.read()
            self.drain()

    def _check_end(self) -> None:
        place = self.journal.place(QUEUE)
        assert self.watch.last == place, "the watch does not end at the last"
        for job in sorted(self.touched):
            assert job in self.board.ledgers, f"{job} was never told of"
        for job, ledger in self.board.ledgers.items():
            record = now(self.journal.read(job))
            if record.position is None and ledger.over:
                # Nobody is told that the record of a job which is over is gone.
                continue
            assert ledger.position == record.position, f"{job} does not end at the last"
            assert ledger.over == (record.fields.get("state", b"").decode() in TERMINAL)
