"""A published event, read as far as a gateway needs: its name, its place, its job. No JSON is parsed.

The journal writes ``["<name>",{"seq":<n>,"epoch":"<e>","jobId":"<id>",...}]`` with these fields first and in this
order, so their place in the bytes is known; on a queue's channel the event's place in the queue stands before them:
``"queuePosition":{"seq":<n>,"epoch":"<e>"}``. What does not begin so is no event of ours.
"""

import re
from collections.abc import Sequence
from functools import partial
from typing import Final, Protocol

import msgspec

from jobcast.shared.position import Position
from jobcast.shared.states import JOB_CANCELLED, JOB_COMPLETED, JOB_FAILED, JOB_LOG, JOB_PROGRESS, LAW, EventClass

_match: Final = re.compile(
    rb'\["(job-[a-z-]{1,40})",\{'
    rb'(?:"queuePosition":\{"seq":([1-9][0-9]{0,14}),"epoch":"([0-9a-z]{1,32})"\},)?'
    rb'"seq":([1-9][0-9]{0,14}),"epoch":"([0-9a-z]{1,32})","jobId":"([A-Za-z0-9_.:-]{1,128})"'
).match
_CLASSES: Final[dict[str, EventClass]] = {JOB_PROGRESS: "progress", JOB_LOG: "log"}
_FAILED: Final = JOB_FAILED.encode()
_ENDS: Final = frozenset({JOB_COMPLETED.encode(), JOB_CANCELLED.encode(), _FAILED})
_NAMES: Final = {name.encode(): name for name in LAW}
_HEADS: Final = frozenset(b'["%b' % name for name in _NAMES)
# Position._make without its frame in Python.
_position: Final = partial(tuple.__new__, Position)
_LF, _CR, _RS = b"\n\r\x1e"
LARGEST_MESSAGE: Final = 80 * 1024
"""An event with its number; the journal takes 64 KiB of event."""


class Dialect(Protocol):
    """How a door writes a message."""

    def encode(self, message: "Message") -> bytes: ...

    def event(self, wire: bytes) -> bytes:
        """The same of an event known to be one, without reading more of it than this door needs."""
        ...

    def join(self, entries: "list[bytes]") -> bytes:
        """Several in one; the bytes of one after those of the other."""
        ...


class Message(msgspec.Struct, eq=False, gc=False):
    """Something to be sent to a client: ``wire`` is ``[name, payload]`` in JSON; ``position`` is None for no event.

    ``ends_job``: the job is over with this, or the snapshot shows one that is. ``queue_position``: who watches the
    queue and was sent this has been sent all that stands before it there.
    """

    # A struct of msgspec because one is made for every event: a class of Python's own takes four times as long.
    name: str
    wire: bytes
    job_id: str
    position: Position | None = None
    ends_job: bool = False
    queue_position: Position | None = None
    frames: dict[Dialect, bytes] | None = None

    def __repr__(self) -> str:
        return f"Message({self.name}, {self.job_id}, {self.position})"

    @property
    def event_class(self) -> EventClass:
        """Events of a kind this gateway has never heard of are kept like states: a newer worker may send them."""
        return _CLASSES.get(self.name, "state")

    @property
    def payload(self) -> bytes:
        """The payload's JSON alone."""
        return self.wire[len(self.name) + 4 : -1]

    def encoded(self, dialect: Dialect) -> bytes:
        """The message as this door writes it: made once, however many clients it goes to."""
        if self.frames is None:
            self.frames = {}
        frame = self.frames.get(dialect)
        if frame is None:
            frame = self.frames[dialect] = dialect.encode(self)
        return frame


def parse(wire: bytes) -> Message | None:
    """The event in ``wire``, or None when it is none: cut short, not text, or somebody else's."""
    found = _match(wire)
    if found is None or not _is_whole(wire):
        return None
    name, queue_seq, queue_epoch, seq, epoch, job_id = found.groups()
    # A quote within a text is escaped, so the words cannot be faked by one.
    ends = name in _ENDS and (name != _FAILED or b'"final":true' in wire)
    position = _position((epoch.decode(), int(seq)))
    place = None if queue_seq is None else _position((queue_epoch.decode(), int(queue_seq)))
    return Message(_NAMES.get(name) or name.decode(), wire, job_id.decode(), position, ends, place)


def signature(epoch: str, job_id: str) -> bytes:
    """What stands behind the number in every event of a job's epoch."""
    return b',"epoch":"%b","jobId":"%b"' % (epoch.encode(), job_id.encode())


def follow(wires: Sequence[bytes], last: int, signed: bytes) -> bool:
    """Whether these are the events after number ``last``, none missing and none twice, with this :func:`signature`.

    What such an event begins with is known but for its name, so its bytes are compared and nothing is parsed. False for
    an event of a name this gateway has never heard of: :func:`parse` decides on it.
    """
    for wire in wires:
        last += 1
        end = wire.find(b'"', 2)
        rest = b'",{"seq":%d%b' % (last, signed)
        if not (wire[end : end + len(rest)] == rest and wire[:end] in _HEADS and _is_whole(wire)):
            return False
    return True


def _is_whole(wire: bytes) -> bool:
    """It ends as the journal ends it, is of a size the journal takes, and is text in one line."""
    # Neither can stand in JSON as the journal writes it: a line break would end an SSE field, the record separator a
    # polled packet. Asked for by number: a needle of bytes costs eight times as much. A slice costs less than endswith.
    return (
        wire[-2:] == b"}]"
        and len(wire) <= LARGEST_MESSAGE
        and _LF not in wire
        and _CR not in wire
        and _RS not in wire
        and (wire.isascii() or _is_text(wire))
    )


def _is_text(wire: bytes) -> bool:
    try:
        wire.decode()
    except UnicodeDecodeError:
        return False
    return True


def with_skipped(message: Message, skipped: int) -> Message:
    """The same event, saying that it replaces the ``skipped`` ones before it."""
    return _with(message, b'"skipped":%d,' % skipped, message.queue_position)


def placed(message: Message, place: Position | None) -> Message:
    """The same with this place in its queue, and no other, or with none."""
    field = b"" if place is None else b'"queuePosition":{"seq":%d,"epoch":"%b"},' % (place.seq, place.epoch.encode())
    return _with(message, field, place, instead=message.queue_position is not None)


def _with(message: Message, field: bytes, place: Position | None, *, instead: bool = False) -> Message:
    start = len(message.name) + 5
    rest = message.wire.index(b"},", start) + 2 if instead else start
    wire = b"%b%b%b" % (message.wire[:start], field, message.wire[rest:])
    return Message(message.name, wire, message.job_id, message.position, message.ends_job, place)
