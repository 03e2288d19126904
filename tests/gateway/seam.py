"""One watch in a world that loses, repeats and delays: the simulation behind test_watch_seam.

The world does what Redis and a client do, in any order a byte string says. The client notes what reaches it and
protests at once where the promise is broken.
"""

from collections.abc import Coroutine
from typing import Any, TypeVar

import msgspec

from jobcast.gateway.outbox import Outbox
from jobcast.gateway.watch import Watch
from jobcast.gateway.wire import Message, parse
from jobcast.shared.errors import Refused
from jobcast.shared.journal import MemoryJournal
from jobcast.shared.journal.contract import Life, Reading
from jobcast.shared.position import Position
from jobcast.shared.snapshot import JOB_SNAPSHOT
from jobcast.shared.states import JOB_CANCELLED, JOB_COMPLETED, JOB_FAILED, TERMINAL
from tests.gateway.events import completed, failed, logged, progressed, queued, started

JOB = "job"
T = TypeVar("T")


def now(call: Coroutine[Any, Any, T]) -> T:
    """The answer of a call that waits for nothing: the memory journal's."""
    try:
        call.send(None)
    except StopIteration as ended:
        answer: T = ended.value
        return answer
    raise AssertionError("the memory journal waited")


class Ledger:
    """What one client was told of one job, checked against the promise as it comes."""

    def __init__(self) -> None:
        self.position: Position | None = None
        self.over = False
        self.progress: set[Position] = set()
        """Every progress event ever recorded: the only ones that may be skipped."""
        self._heard: set[Position] = set()
        self._introducing = False

    def hear(self, wire: bytes) -> None:
        name, payload = msgspec.json.decode(wire)
        if name == JOB_SNAPSHOT:
            self._reset(payload)
            return
        if name == "feed-status":
            return
        place = Position(payload["epoch"], payload["seq"])
        introducing, self._introducing = self._introducing, False
        if introducing and self.position is not None and place.is_news(self.position) is False:
            # The snapshot's own latest event once more, heard before or not.
            self._heard.add(place)
            return
        assert place not in self._heard, f"{place} came twice"
        self._heard.add(place)
        if self.position is not None and place.epoch == self.position.epoch and place.seq <= self.position.seq:
            return
        last = 0 if self.position is None else self.position.seq
        if self.position is not None:
            assert place.epoch == self.position.epoch, "another life began without a snapshot"
        skipped = range(last + 1, place.seq)
        assert payload.get("skipped", 0) == len(skipped), f"{list(skipped)} are missing before {place}"
        assert all(Position(place.epoch, seq) in self.progress for seq in skipped), "more than progress was skipped"
        self.position = place
        self.over = name in {JOB_COMPLETED, JOB_CANCELLED} or (name == JOB_FAILED and payload["final"])

    def heard(self, position: Position) -> bool:
        return position in self._heard

    def _reset(self, snapshot: dict[str, Any]) -> None:
        assert snapshot["recovered"] is False, "a snapshot takes the place of what is missing"
        epoch, seq = snapshot["epoch"], snapshot["seq"]
        if self.position is not None and epoch == self.position.epoch:
            assert seq >= self.position.seq, "a snapshot went back"
        self.position = None if epoch is None else Position(epoch, seq)
        self.over = snapshot["state"] in TERMINAL
        self._introducing = True


class World:
    """``run`` takes a byte string as a list of what happens; then everything is read and the end is checked."""

    def __init__(self, history: int) -> None:
        self.journal = MemoryJournal(Life(history=history), published=self._published)
        self.ledger = Ledger()
        self.outbox = Outbox(mark=700)
        self.attempt = 1
        self.in_flight: list[Message] = []
        self.delivered: list[Message] = []
        self.lost = False
        self.reading: tuple[Reading] | None = None
        self.classic = True
        self.last_terminal: Position | None = None
        self.watch = Watch(JOB)
        self._steps = [
            *[self.progress] * 6,
            *[self.log] * 2,
            self.start,
            self.complete,
            self.fail,
            self.queue,
            *[self.deliver] * 6,
            self.repeat,
            self.lose,
            self.suspect,
            *[self.read] * 3,
            *[self.finish_reading] * 3,
            *[self.drain] * 3,
            self.resume,
            self.forget,
        ]

    def run(self, script: bytes) -> None:
        for byte in script:
            self._steps[byte % len(self._steps)]()
        self._settle()
        self._check_end()

    # The job.

    def _append(self, *events: Any) -> None:
        for event in events:
            try:
                now(self.journal.append(event))
            except Refused:
                return

    def _published(self, _job_id: str, _queue: str, wire: bytes, _queue_wire: bytes) -> None:
        message = parse(wire)
        assert message is not None
        assert message.position is not None
        if message.event_class == "progress":
            self.ledger.progress.add(message.position)
        self.last_terminal = message.position if message.ends_job else None
        self.in_flight.append(message)

    def queue(self) -> None:
        if now(self.journal.read(JOB)).fields.get("state", b"").decode() in TERMINAL:
            self.attempt += 1
        self._append(queued(JOB, self.attempt))

    def start(self) -> None:
        self._append(started(JOB, self.attempt))

    def progress(self) -> None:
        self._append(progressed(JOB, 50, self.attempt))

    def log(self) -> None:
        self._append(logged(JOB, "a line of some length, to fill an outbox with", self.attempt))

    def complete(self) -> None:
        self._append(completed(JOB, self.attempt))

    def fail(self) -> None:
        self._append(failed(JOB, self.attempt))

    # The feed.

    def deliver(self) -> None:
        if self.in_flight:
            message = self.in_flight.pop(0)
            self.delivered.append(message)
            self._take(message)

    def repeat(self) -> None:
        for message in self.delivered[-2:]:
            self._take(message)

    def lose(self) -> None:
        """The subscriber connection goes, and what was under way with it; the feed will say so later."""
        self.in_flight.clear()
        self.lost = True

    def suspect(self) -> None:
        self.lost = False
        self.watch.suspect()

    def forget(self) -> None:
        """Redis comes back empty."""
        self.journal.forget()
        self.attempt = 1
        self.last_terminal = None
        self.lose()
        # Its connections ended with it: an event of the life that is over cannot come again.
        self.delivered.clear()

    # The gateway, as its client does it.

    def _take(self, message: Message) -> None:
        last = self.watch.last
        sent = self.watch.live(message)
        if sent is not None and not self.outbox.offer(sent.wire):
            self.watch.lag(last)

    def read(self) -> None:
        """Redis answers now; the answer arrives later."""
        if self.reading is not None:
            return
        if self.watch.behind and self.outbox.roomy:
            self.watch.begin_reading()
        if self.watch.phase == "reading":
            self.reading = (now(self.journal.read(JOB, self.watch.last)),)

    def finish_reading(self) -> None:
        if self.reading is None:
            return
        (reading,), self.reading = self.reading, None
        opened = self.watch.opened(reading)
        for message in opened.introduction:
            self.outbox.push(message.wire)
        last = opened.start
        for message in opened.events:
            if not self.outbox.offer(message.wire):
                self.watch.lag(last)
                break
            last = message.position

    # The client.

    def drain(self) -> None:
        for wire in self.outbox.take(200):
            self.ledger.hear(wire)

    def resume(self) -> None:
        """The connection breaks; another one goes on from what was applied last."""
        self.outbox.clear()
        self.reading = None
        self.in_flight.clear()
        self.lost = False
        self.delivered.clear()
        self.classic = self.classic and self.ledger.position is None
        self.watch = Watch(JOB, self.ledger.position)

    def _settle(self) -> None:
        while self.in_flight:
            self.deliver()
        self.suspect()
        while self.watch.phase != "live" or self.reading is not None or len(self.outbox):
            self.read()
            self.finish_reading()
            self.drain()

    def _check_end(self) -> None:
        record = now(self.journal.read(JOB))
        assert self.ledger.position == record.position, "the client does not end at the last"
        assert self.ledger.over == (record.fields.get("state", b"").decode() in TERMINAL)
        if self.classic and self.last_terminal is not None:
            assert self.ledger.heard(self.last_terminal), "a classic client was never told that the job is over"
