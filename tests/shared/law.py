"""The law of the journal said once more, from the protocol's words: no journal is the judge of itself or of its twin.

A witness sees what is offered and answered, what is published, and the record after every step. Values in, values
out; no I/O.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from jobcast.shared.errors import Refused
from jobcast.shared.events import ChildrenProgress, Event, JobFailed, JobQueued, decode
from jobcast.shared.journal.contract import Appended, Entry, Key, Reading
from jobcast.shared.keys import Keys
from jobcast.shared.position import Position
from tests.contract.test_law import LEADS_TO, MAY_FOLLOW

PLACE = re.compile(rb'"queuePosition":\{"seq":([0-9]+),"epoch":"([0-9a-z]+)"\},')
OVER = {"completed", "failed", "cancelled"}
Where = TypeVar("Where")


@dataclass
class Life:
    """One epoch of one job, as the events it took make it. ``writers``: of each, the last count and its number."""

    epoch: str
    queue: str
    born: int
    attempt: int = 0
    over: int = 0
    state: str = ""
    taken: list[Event] = field(default_factory=list)
    wires: list[bytes] = field(default_factory=list)
    writers: dict[str, tuple[int, int]] = field(default_factory=dict)

    def take(self, event: Event, key: Key | None) -> None:
        if event.attempt > self.attempt:
            self.writers.clear()
        self.attempt, self.state = event.attempt, leads_to(event)
        self.taken.append(event)
        if _ends_attempt(event):
            self.over = event.attempt
        if key is not None:
            self.writers[key.writer] = (key.count, len(self.taken))

    def knows(self, event: Event, key: Key | None) -> int:
        """The number under which this was taken already; 0 when it was not."""
        if key is not None and event.attempt == self.attempt and key.writer in self.writers:
            count, seq = self.writers[key.writer]
            if key.count <= count:
                return seq
        if isinstance(event, JobQueued) and event.attempt <= self.attempt and not self.moves_on(event):
            return len(self.taken)
        return 0

    def moves_on(self, event: Event) -> bool:
        """It waited for its children, or out a delay, and does so no longer."""
        if not isinstance(event, JobQueued) or event.attempt != self.attempt or self.over == self.attempt:
            return False
        if self.state == "delayed":
            return not event.delay and event.children is None
        return self.state == "waiting-children" and event.children is None


def leads_to(event: Event) -> str:
    """The state a job is in after this event."""
    if isinstance(event, ChildrenProgress) or (isinstance(event, JobQueued) and event.children is not None):
        return "waiting-children"
    if isinstance(event, JobQueued) and event.delay:
        return "delayed"
    if isinstance(event, JobFailed) and not event.final:
        return "delayed" if (event.retry_at or 0) > event.timestamp else "waiting"
    return LEADS_TO[event.kind]


def _within(life: Life, event: Event) -> str:
    """What the law says to news within one life."""
    if event.attempt < life.attempt:
        return "stale-attempt"
    if event.attempt > life.attempt:
        return "taken"
    if life.over == event.attempt:
        return "closed"
    row = "children-progress" if isinstance(event, ChildrenProgress) else event.kind
    return "taken" if life.moves_on(event) or life.state in MAY_FOLLOW[row] else "out-of-order"


def _ends_attempt(event: Event) -> bool:
    return event.kind in {"job-completed", "job-failed", "job-cancelled"}


class Witness:
    """``violations`` are sentences; :meth:`at_the_end` adds what only the whole shows."""

    def __init__(self) -> None:
        self.violations: list[str] = []
        self.lives: dict[str, Life] = {}
        """The one that goes on, by job."""
        self.ended: list[tuple[str, Life]] = []
        self._heard: dict[str, list[bytes]] = {}

    def offered(self, event: Event, key: Key | None, born: int, answer: Appended | Refused) -> None:
        """One append and what the journal said to it."""
        life, job = self.lives.get(event.job_id), event.job_id
        right = self._right(life, event, key, born)
        said = answer.reason if isinstance(answer, Refused) else "taken" if answer.fresh else "again"
        if right in {"taken", "begun"}:
            self._taken(life, event, key, born, answer, begins=right == "begun")
        elif said != right:
            self._against(f"{event.kind} of attempt {event.attempt} of {job} was answered {said}; right was {right}")
        elif isinstance(answer, Appended) and life is not None:
            known = Position(life.epoch, life.knows(event, key))
            if answer.position != known:
                self._against(f"{event.kind} of {job} stands at {known}; the journal said {answer.position}")
        elif isinstance(answer, Refused) and life is not None and answer.state != life.state:
            self._against(f"{job} was called {answer.state}; it is {life.state}")

    def _right(self, life: Life | None, event: Event, key: Key | None, born: int) -> str:
        """What the law says to this event, in the order in which it asks."""
        if life is None:
            return "begun"
        over, stranger = life.state in OVER, event.queue != life.queue
        if stranger and not over:
            return "other-queue"
        if isinstance(event, JobQueued) and born and life.born and born != life.born:
            return "begun" if over or born > life.born else "superseded"
        if stranger:
            return "other-queue"
        return "again" if life.knows(event, key) else _within(life, event)

    def _taken(
        self, life: Life | None, event: Event, key: Key | None, born: int, answer: Appended | Refused, *, begins: bool
    ) -> None:
        if isinstance(answer, Refused) or not answer.fresh:
            self._against(f"{event.kind} of {event.job_id} may be taken; the journal said {answer}")
            return
        if begins or life is None:
            if life is not None:
                self.ended.append((event.job_id, life))
                if answer.position.epoch == life.epoch:
                    self._against(f"{event.job_id} began another life under the epoch of the old one")
            life = self.lives[event.job_id] = Life(answer.position.epoch, event.queue, born)
        life.take(event, key)
        if answer.position != (life.epoch, len(life.taken)):
            right = Position(life.epoch, len(life.taken))
            self._against(f"{event.kind} of {event.job_id} was given {answer.position}; {right} was next")

    def forgotten(self) -> None:
        """The store came back empty."""
        self.ended += self.lives.items()
        self.lives.clear()

    def looked(self, job: str, reading: Reading, history: Sequence[Entry]) -> None:
        """The record as it stands after a step."""
        life = self.lives.get(job)
        if life is None:
            if reading.position is not None or history:
                self._against(f"there is a record of {job}, of which nothing was taken")
            return
        end = Position(life.epoch, len(life.taken))
        if reading.position != end:
            self._against(f"the record of {job} stands at {reading.position}; {end} was taken last")
            return
        first = end.seq - len(history) + 1
        if [entry.seq for entry in history] != list(range(first, end.seq + 1)):
            self._against(f"the history of {job} is {[entry.seq for entry in history]}, its end {end.seq}")
            return
        for entry in history[len(life.wires) - first + 1 :]:
            self._recorded(job, life, entry)
        if [entry.wire for entry in history] != life.wires[first - 1 :]:
            self._against(f"what was recorded of {job} is another event than before")
        self._state(job, life, reading)

    def _recorded(self, job: str, life: Life, entry: Entry) -> None:
        event, right = decode(entry.wire), life.taken[entry.seq - 1]
        life.wires.append(entry.wire)
        if (event.seq, event.epoch) != (entry.seq, life.epoch):
            self._against(f"{entry.seq} of {job} calls itself {event.epoch}-{event.seq}")
        if (event.kind, event.job_id, event.attempt, event.queue) != (right.kind, job, right.attempt, right.queue):
            self._against(f"{entry.seq} of {job} is {event!r}; {right!r} was taken")

    def _state(self, job: str, life: Life, reading: Reading) -> None:
        right = {"attempt": str(life.attempt), "state": life.state, "queue": life.queue, "born": str(life.born)}
        held = {name: reading.fields[name].decode() for name in right}
        over = int(reading.fields.get("over", b"0"))
        if held != right or over != life.over:
            self._against(f"{job} is held as {held}, over {over}; it is {right}, over {life.over}")
        latest = {f"event:{event.kind}": wire for event, wire in zip(life.taken, life.wires, strict=True)}
        latest.pop("event:job-log", None)
        kept = {name: value for name, value in reading.fields.items() if name.startswith("event:")}
        if kept != {name: wire[len(name) - 6 + 4 : -1] for name, wire in latest.items()}:
            self._against(f"the latest events of {job} are held as {kept}; they are {latest}")

    def heard(self, channel: str, wire: bytes) -> None:
        """A subscriber was sent this."""
        self._heard.setdefault(channel, []).append(wire)

    def at_the_end(self, keys: Keys) -> None:
        """Everything recorded was published, once and in order, on both channels; and nothing else was."""
        self.forgotten()
        right: dict[str, list[bytes]] = {}
        for job, life in self.ended:
            right.setdefault(keys.channel(job), []).extend(life.wires)
        self._compare({channel: wires for channel, wires in self._heard.items() if channel in right}, right)
        by_queue: dict[tuple[str, str], list[bytes]] = {}
        told: dict[tuple[str, str], list[bytes]] = {}
        for job, life in self.ended:
            by_queue.setdefault((keys.queue_channel(life.queue), job), []).extend(life.wires)
        for channel in {channel for channel, _ in by_queue}:
            for wire in self._unplaced(channel, self._heard.get(channel, [])):
                told.setdefault((channel, decode(wire).job_id), []).append(wire)
        self._compare(told, by_queue)
        strangers = set(self._heard) - set(right) - {channel for channel, _ in by_queue}
        if strangers:
            self._against(f"something was published on {sorted(strangers)}, of which nothing was recorded")

    def _unplaced(self, channel: str, wires: Sequence[bytes]) -> Iterator[bytes]:
        """The events of a queue's channel without their places, which count 1, 2, 3 in each life of its record."""
        epoch, last, lives = b"", 0, set[bytes]()
        for wire in wires:
            found = PLACE.search(wire)
            if found is None:
                self._against(f"on {channel} an event has no place in the queue: {wire!r}")
                continue
            if found[2] != epoch:
                if found[2] in lives:
                    self._against(f"{channel} went back to an older life")
                epoch, last = found[2], 0
                lives.add(epoch)
            if int(found[1]) != last + 1:
                self._against(f"on {channel} number {int(found[1])} came after {last}")
            last = int(found[1])
            yield wire[: found.start()] + wire[found.end() :]

    def _compare(self, told: Mapping[Where, list[bytes]], right: Mapping[Where, list[bytes]]) -> None:
        for where in told.keys() | right.keys():
            if told.get(where, []) != right.get(where, []):
                self._against(f"on {where} was published {told.get(where)}; recorded is {right.get(where)}")

    def _against(self, sentence: str) -> None:
        self.violations.append(sentence)
