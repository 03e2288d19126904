"""One client's view of one job: what to send it, and when the record must be read. Values in, values out; no I/O.

The delicate part of the project is the seam between a record that is read and a feed that runs on meanwhile. The rule:
follow the feed first, then read; hold what the feed brings until the reading is there; then drop what the reading
already holds and go on by number. A number that does not follow the last one is a gap, and a gap is read, not guessed.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from jobcast.gateway.held import Held
from jobcast.gateway.wire import Message, parse, with_skipped
from jobcast.shared.journal.contract import Reading
from jobcast.shared.position import Position
from jobcast.shared.snapshot import JOB_SNAPSHOT, Snapshot, build
from jobcast.shared.states import TERMINAL

Phase = Literal["reading", "live", "behind"]
_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Opened:
    """What a reading made of a watch: the state, and what to send in this order.

    ``introduction`` (a snapshot and the latest event once more) is sent whole or not at all; ``events`` follow the
    position ``start`` and may be cut short where the client has no more room.
    """

    snapshot: Snapshot
    recovered: bool
    introduction: list[Message]
    start: Position | None
    events: list[Message]


class Watch:
    """Begins in phase ``reading``: give it the record with :meth:`opened`, and every event with :meth:`live`.

    When :attr:`behind` is set, the owner calls :meth:`begin_reading`, reads the record from there, and calls
    :meth:`opened` again.
    """

    __slots__ = (
        "_classic",
        "_conflate",
        "_due",
        "_held",
        "_introduced",
        "abandoned",
        "job_id",
        "last",
        "phase",
    )

    def __init__(self, job_id: str, since: Position | None = None) -> None:
        self.job_id = job_id
        self.last = since
        self.phase: Phase = "reading"
        self.abandoned = False
        """Nobody watches any more: a reading still under way is for nobody."""
        self._held = Held()
        self._due: Position | None = None
        """An event that was recorded while a reading was under way: it must be among what came of it."""
        self._introduced = since is not None
        self._classic = since is None
        self._conflate = False

    @property
    def step(self) -> Position | None:
        """Where it is, while nothing is missing and nothing is read: such watches can go on side by side."""
        return self.last if self.phase == "live" else None

    @property
    def behind(self) -> bool:
        """The record must be read before anything more can be sent."""
        return self.phase == "behind"

    def live(self, message: Message) -> Message | None:
        """Take an event from the feed; returns it if it is to be sent now."""
        position, last = message.position, self.last
        if position is None:
            return None
        if self.phase == "live" and last is not None and position == (last[0], last[1] + 1):
            # Nearly always; what follows are the exceptions.
            self.last = position
            return message
        if self.phase == "reading":
            self._held.add(message)
        elif self.phase == "live":
            if last is None and position.seq == 1:
                self.last = position
                return message
            if position.is_news(last):
                self.phase = "behind"
        return None

    def begin_reading(self) -> Position | None:
        """From here on events are held; returns the position to read from."""
        self.phase = "reading"
        self._held.begin()
        return self.last

    def opened(self, reading: Reading) -> Opened:
        """Join the record to what the feed brought meanwhile."""
        snapshot = build(self.job_id, reading, recovered=reading.recovered)
        introduction: list[Message] = []
        events: list[Message] = []
        start = reading.position
        if reading.recovered:
            start = self.last
            events = self._missed(reading)
        elif reading.position is not None or self.last is not None or not self._introduced:
            # The classic front ends know four events, no snapshot and no position: every snapshot is told them by the
            # latest event once more, or they would never learn that the job ended in a moment nobody could replay.
            introduction = introduce(self.job_id, reading, snapshot, self.last, latest=self._classic)
        self.last, self._introduced, self._conflate = reading.position, True, False
        self.phase = "behind" if self._held.lost else "live"
        events.extend(sent for message in self._held.let_go() if (sent := self.live(message)) is not None)
        due, self._due = self._due, None
        if due is not None:
            self.verify(due)
        return Opened(snapshot, reading.recovered, introduction, start, events)

    def lag(self, last: Position | None) -> None:
        """The client's outbox is full and took nothing after ``last``: the rest is read from the record later.

        The record is the buffer: a slow client costs no memory for what it has not been sent.
        """
        self.last, self.phase, self._conflate = last, "behind", True

    def suspect(self) -> None:
        """The feed may have lost something without a trace: read again from the last event sent."""
        if self.phase == "live":
            self.phase = "behind"
        # A reading that is under way may have been taken before what was lost.
        self._held.lost = self.phase == "reading"

    def verify(self, position: Position) -> bool:
        """The record holds an event of this position, and all up to it have come: False when it was not heard of.

        Whoever did not hear of it reads.
        """
        if self.phase == "reading":
            self._due = position
        elif self.phase == "live" and position.is_news(self.last):
            self.phase = "behind"
            return False
        return True

    def _missed(self, reading: Reading) -> list[Message]:
        messages = [message for entry in reading.missed if (message := parse(entry.wire)) is not None]
        return conflated(messages) if self._conflate else messages


def introduce(
    job_id: str, reading: Reading, snapshot: Snapshot, last: Position | None = None, *, latest: bool = True
) -> list[Message]:
    """A snapshot, and with ``latest`` the job's latest event once more if it is news to who was told up to ``last``."""
    wire = _encode([JOB_SNAPSHOT, snapshot])
    messages = [Message(JOB_SNAPSHOT, wire, job_id, reading.position, snapshot.state in TERMINAL)]
    found = latest_event(reading) if latest else None
    if found is not None and found.position is not None and found.position.is_news(last):
        messages.append(found)
    return messages


def conflated(messages: Iterable[Message]) -> list[Message]:
    """Only the newest progress; states and logs whole. What follows a hole says how many were skipped."""
    everything = list(messages)
    newest = max((i for i, m in enumerate(everything) if m.event_class == "progress"), default=-1)
    kept: list[Message] = []
    skipped = 0
    for i, message in enumerate(everything):
        if message.event_class == "progress" and i != newest:
            skipped += 1
            continue
        kept.append(with_skipped(message, skipped) if skipped else message)
        skipped = 0
    return kept


def latest_event(reading: Reading) -> Message | None:
    """The job's latest event but for its logs, as it was published."""
    found = [
        message
        for name, payload in reading.fields.items()
        if name.startswith("event:")
        and (message := parse(b'["%s",%s]' % (name.removeprefix("event:").encode(), payload))) is not None
    ]
    return max(found, key=lambda message: message.position.seq if message.position else 0, default=None)
