"""Holds what one client was told of one job to the promise of the protocol. Values in, values out; no I/O.

A client counts for itself, as the real ones do: an event that is news is applied, a snapshot takes the place of all
before it, and on every new connection it is told what follows the position it asked from. What was told is held to
the truth, which is every event the journal recorded, noted down by whoever appended it.
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from jobcast.shared.position import Position
from jobcast.shared.states import JOB_LOG, JOB_PROGRESS, TERMINAL

HISTORY: Final = 256
"""Events the journal keeps at least: who misses no more than these is told them and not reset."""


class Recorded(NamedTuple):
    """One event of the truth; ``ends_job`` says that the job is over with it."""

    name: str
    ends_job: bool = False


class Truth:
    """All events of one job, by epoch, the epochs in the order they began.

    ``final`` is where the record stands when everything is over; None when there is no record any more.
    """

    def __init__(self) -> None:
        self.epochs: dict[str, dict[int, Recorded]] = {}
        self.final: Position | None = None

    def add(self, position: Position, event: Recorded) -> None:
        self.epochs.setdefault(position.epoch, {})[position.seq] = event

    def event(self, position: Position) -> Recorded | None:
        return self.epochs.get(position.epoch, {}).get(position.seq)

    def is_over(self, position: Position | None) -> bool:
        event = None if position is None else self.event(position)
        return event is not None and event.ends_job

    def latest(self, position: Position) -> int:
        """The number of the last event up to there that is no log: a snapshot is followed by it once more."""
        events = self.epochs.get(position.epoch, {})
        found = (seq for seq in range(position.seq, 0, -1) if seq in events and events[seq].name != JOB_LOG)
        return next(found, 0)

    def is_later(self, epoch: str, than: str) -> bool:
        """Whether this life of the record began after that one."""
        order = list(self.epochs)
        return epoch in order and than in order and order.index(epoch) > order.index(than)


class Opened(NamedTuple):
    """The client connected, and asked for what follows ``since``."""

    since: Position | None


class Told(NamedTuple):
    """An event as it came; ``skipped`` is what it says it stands for besides itself."""

    name: str
    position: Position
    skipped: int = 0


class Snapped(NamedTuple):
    """A snapshot as it came; no position when the job is unknown."""

    position: Position | None
    state: str
    recovered: bool = False


Entry = Opened | Told | Snapped


def violations(log: Iterable[Entry], truth: Truth, *, history: int = HISTORY, classic: bool = False) -> list[str]:
    """What in this log is against the promise, a sentence each; empty when it was kept.

    A ``classic`` client knows neither snapshots nor positions, so the end of the job must reach it as an event.
    """
    entries = list(log)
    check = Check(truth, history)
    found = [sentence for entry in entries for sentence in check.take(entry)]
    found += check.end()
    final = truth.final
    told = {entry.position for entry in entries if isinstance(entry, Told)}
    if classic and truth.is_over(final) and final not in told:
        found.append(f"a client that knows no snapshots was never told the event {final}, which ended the job")
    return found


class Check:
    """``told`` is where the connection is, ``applied`` where the client is: they differ after a resumption."""

    def __init__(self, truth: Truth, history: int) -> None:
        self._truth = truth
        self._history = history
        self._applied: Position | None = None
        self._told: Position | None = None
        self._begun = False
        """Something was asked for and its beginning was told."""
        self._introducing = False
        """The latest event may come once more: a snapshot was the last thing told."""
        self._seen: set[Position] = set()
        """Every place it was ever told: an SSE client may go on from one before its last, as browsers do."""
        self._ends: list[Position] = []

    @property
    def told(self) -> Position | None:
        return self._told

    def meet(self) -> None:
        """All that is told from here on counts from the job's first event, or begins with a snapshot."""
        self._told, self._begun = None, True

    def take(self, entry: Entry) -> Iterator[str]:
        match entry:
            case Opened():
                yield from self._open(entry)
            case Snapped():
                yield from self._snapshot(entry)
            case Told():
                yield from self._event(entry)

    def end(self) -> Iterator[str]:
        """Everybody had time enough."""
        final = self._truth.final
        if self._applied != final:
            yield f"ends at {_at(self._applied)}, but the record ends at {_at(final)}"
        if final is not None and self._truth.is_over(final):
            times = self._ends.count(final)
            if times != 1:
                yield f"the end of the job at {final} was applied {times} times"

    def _open(self, entry: Opened) -> Iterator[str]:
        if entry.since is not None and entry.since not in self._seen:
            yield f"resumed after {entry.since}, which it was not told: it is at {_at(self._applied)}"
        self._told, self._begun, self._introducing = entry.since, entry.since is not None, False

    # Snapshots.

    def _snapshot(self, entry: Snapped) -> Iterator[str]:
        at = entry.position
        yield from self._false_snapshot(entry)
        yield from self._needless_reset(at)
        self._told, self._begun, self._introducing = at, True, True
        if at is None:
            self._applied = None
            return
        self._seen.add(at)
        if self._is_news(at):
            self._apply(at, ends_job=entry.state in TERMINAL)

    def _false_snapshot(self, entry: Snapped) -> Iterator[str]:
        at = entry.position
        if entry.recovered:
            yield f"a snapshot at {_at(at)} says recovered, but it takes the place of what was missed"
        if at is None:
            return
        if self._truth.event(at) is None:
            yield f"a snapshot stands at {at}, which was never recorded"
        elif (entry.state in TERMINAL) is not self._truth.is_over(at):
            yield f"a snapshot at {at} says {entry.state}, but the event there is {self._name(at)}"

    def _needless_reset(self, at: Position | None) -> Iterator[str]:
        """A gateway that answers everything with a snapshot would lose nothing, and keep no promise."""
        told, truth = self._told, self._truth
        if told is None:
            return
        if at is None:
            if truth.final is not None and truth.final.epoch == told.epoch:
                yield f"was told at {told} that the job is unknown, but its record stands"
        elif at.epoch != told.epoch:
            if not truth.is_later(at.epoch, told.epoch):
                yield f"went from {told} back to the earlier life {at}"
        elif at.seq < told.seq:
            yield f"a snapshot went back from {told} to {at}"
        elif at.seq - told.seq <= self._history:
            yield f"was reset from {told} to {at}, but the history still held what it missed"

    # Events.

    def _event(self, entry: Told) -> Iterator[str]:
        at, told = entry.position, self._told
        introducing, self._introducing = self._introducing, False
        self._seen.add(at)
        recorded = self._truth.event(at)
        if recorded is None:
            yield f"was told {entry.name} at {at}, which was never recorded"
        elif recorded.name != entry.name:
            yield f"was told {entry.name} at {at}, but {recorded.name} was recorded there"
        if not self._begun:
            yield f"was told {entry.name} at {at} before any snapshot"
            self._begun = True
        if told is not None and told.epoch == at.epoch and at.seq <= told.seq:
            yield from self._again(entry, told, introducing)
            return
        yield from self._next(entry, told)
        self._told = at
        if self._is_news(at):
            self._apply(at, ends_job=recorded is not None and recorded.ends_job)

    def _again(self, entry: Told, told: Position, introducing: bool) -> Iterator[str]:
        seq = entry.position.seq
        if not introducing:
            yield f"was told {entry.name} at {entry.position} again: it had been told up to {told}"
        elif seq != (latest := self._truth.latest(told)):
            yield f"the snapshot at {told} was followed by {seq} once more, but the latest event is {latest}"

    def _next(self, entry: Told, told: Position | None) -> Iterator[str]:
        at, last = entry.position, 0
        if told is not None:
            if told.epoch != at.epoch:
                yield f"went from {told} to {at} without a snapshot between the two lives"
                return
            last = told.seq
        missing = range(last + 1, at.seq)
        if len(missing) != entry.skipped:
            said = f"says that it skips {entry.skipped}" if entry.skipped else "says nothing of it"
            yield f"was not told {_numbers(missing)} before {at}, which {said}"
            return
        lost = [seq for seq in missing if self._name(Position(at.epoch, seq)) != JOB_PROGRESS]
        if lost:
            names = ", ".join(f"{self._name(Position(at.epoch, seq))} at {seq}" for seq in lost[:5])
            yield f"{at} skips more than progress: {names}"

    def _is_news(self, at: Position) -> bool:
        return at.is_news(self._applied)

    def _apply(self, at: Position, *, ends_job: bool) -> None:
        self._applied = at
        if ends_job:
            self._ends.append(at)

    def _name(self, at: Position) -> str:
        event = self._truth.event(at)
        return "nothing" if event is None else event.name


def _at(position: Position | None) -> str:
    return "no position" if position is None else str(position)


def _numbers(missing: range) -> str:
    if not missing:
        return "nothing that is missing"
    return f"{missing[0]}" if len(missing) == 1 else f"{missing[0]} to {missing[-1]}"
