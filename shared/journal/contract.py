"""What every journal does, whatever it is kept in. One test suite holds all of them to it."""

import itertools
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import msgspec

from jobcast.shared.errors import Refused
from jobcast.shared.events import Event
from jobcast.shared.position import Position
from jobcast.shared.rollup import RollUp

DAY_MS = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Life:
    """How much of a record is kept: ``history`` events, and the record ``ttl`` ms after its last event."""

    history: int = 256
    ttl: int = DAY_MS


class Key(msgspec.Struct, frozen=True):
    """An idempotency key: the same key twice is one event. ``count`` grows with each event of one writer."""

    writer: str
    count: int


@dataclass(slots=True)
class Writer:
    """Who appends. Gives each of its events a key, so that an append can be sent again when its answer is lost."""

    name: str = field(default_factory=lambda: os.urandom(6).hex())
    _counter: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def key(self) -> Key:
        return Key(self.name, next(self._counter))


class Appended(NamedTuple):
    """Where an event stands now. ``fresh`` is False for a key seen before; ``cancelling`` asks the writer to stop.

    ``parent``: the job whose children the event has changed the numbers of. ``share``: of a job with children, how much
    of its progress (0-100) they make up.
    """

    position: Position
    fresh: bool
    cancelling: str | None
    parent: str | None = None
    share: float | None = None


class Entry(NamedTuple):
    """One recorded event: its number and the bytes that were published, ``[event, payload]`` in JSON."""

    seq: int
    wire: bytes


@dataclass(frozen=True, slots=True)
class Reading:
    """A job's record at one instant.

    ``fields`` is empty when there is no record. ``missed`` are the events after the position asked for;
    ``recovered`` says that they are all of them (same epoch, none trimmed away). ``garbled``: there is something that
    is no record, which stands for none.
    """

    position: Position | None
    fields: dict[str, bytes]
    missed: Sequence[Entry] = ()
    recovered: bool = False
    garbled: bool = False


@dataclass(frozen=True, slots=True)
class IndexPage:
    """Jobs of a queue, last changed first. ``cursor`` asks for the next page; None when there is none."""

    job_ids: list[str]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Ask:
    """A job to be read: with what was missed ``since``, with its events after a ``place`` in its queue, or as it is."""

    job_id: str
    since: Position | None = None
    place: Position | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened in a queue after a position, up to ``position``: the jobs, last changed last.

    ``continued`` is False when the position is of another life of the queue's record: then all jobs of this one have
    changed. ``job_ids`` is None when more have than were asked for.
    """

    position: Position | None
    job_ids: list[str] | None
    continued: bool


class Journal(Protocol):
    """Appending and reading. Every method raises ``Unavailable`` when the store cannot be reached or will not write."""

    async def append(self, event: Event, *, key: Key | None = None, born: int = 0, ttl: int | None = None) -> Appended:
        """Take one event: check the law, number it, record it and publish it, all or nothing.

        ``born`` (Unix ms, with ``job-queued``) tells a job queued again under an old id, which begins a new epoch,
        from the same news told twice. ``ttl`` in ms, when the record must outlive the usual.

        Raises:
            Refused: the state law says no; the reason is named.
            BadRequest, PayloadTooLarge: the event cannot be recorded.
        """
        ...

    async def append_all(
        self, events: Sequence[Event], keys: Sequence[Key | None], *, born: int = 0, ttl: int | None = None
    ) -> list[Appended | Refused]:
        """Take several events of one job in one step, in order, each by :meth:`append`'s rules and with its own answer.

        Where one is answered with a request to cancel, those after it are left out, and so are their answers.

        Raises:
            BadRequest, PayloadTooLarge: one of them cannot be recorded; none was.
        """
        ...

    async def read(self, job_id: str, since: Position | None = None) -> Reading:
        """The present state and, with ``since``, what was missed: both at one instant."""
        ...

    async def read_many(self, job_ids: Iterable[str]) -> list[Reading]:
        """Present states only, in the order asked for."""
        ...

    async def history(self, job_id: str, limit: int = 256) -> list[Entry]:
        """The last events that are still kept, oldest first."""
        ...

    async def claim_roll_up(self, job_id: str, interval: int) -> RollUp | int | None:
        """What is to be told of a job's children, by the caller alone for the next ``interval`` ms.

        A number says in how many ms to ask again, for another is telling; None that there is nothing to tell.
        """
        ...

    async def request_cancel(self, job_id: str, reason: str) -> bool:
        """Ask whoever runs the job to stop; False when the job is not live."""
        ...

    async def cancel_requests(self, job_ids: Sequence[str]) -> list[str | None]:
        """For each job, the reason it should stop, or None."""
        ...

    async def jobs(self, queue: str, limit: int = 50, cursor: str | None = None, *, live: bool = False) -> IndexPage:
        """The queue's jobs by last change, newest first; with ``live`` only those that are not over."""
        ...

    async def queues(self) -> list[str]:
        """Queues that had an event, last changed first."""
        ...

    async def changes(self, queue: str, since: Position | None, limit: int) -> Changes:
        """The jobs that changed after a position in the queue; None stands before its first event."""
        ...

    async def read_each(self, queue: str, asked: Sequence[Ask]) -> list[Reading]:
        """Jobs of a queue, each from where it is asked for."""
        ...

    async def positions(self, job_ids: Sequence[str]) -> list[Position | None]:
        """How far each job is, without its record."""
        ...

    async def queue_positions(self, queues: Sequence[str]) -> list[Position | None]:
        """How far each queue is."""
        ...


def continues(since: Position, position: Position, missed: Sequence[Entry]) -> bool:
    """Whether ``missed`` is all that happened between the two positions."""
    if since.epoch != position.epoch or since.seq > position.seq:
        return False
    if since.seq == position.seq:
        return True
    return bool(missed) and missed[0].seq == since.seq + 1 and missed[-1].seq >= position.seq
