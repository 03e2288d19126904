"""A published event, read as far as a gateway needs: its name, its place, its job. No JSON is parsed.

The journal writes ``["<name>",{"seq":<n>,"epoch":"<e>","jobId":"<id>",...}]`` with these fields first and in this
order, so their place in the bytes is known. What does not begin so is no event of ours.
"""

import re
from typing import Final, Protocol

from jobcast.shared.position import Position
from jobcast.shared.states import JOB_CANCELLED, JOB_COMPLETED, JOB_FAILED, JOB_LOG, JOB_PROGRESS, LAW, EventClass

_match: Final = re.compile(
    rb'\["(job-[a-z-]{1,40})",\{"seq":([1-9][0-9]{0,14}),"epoch":"([0-9a-z]{1,32})","jobId":"([A-Za-z0-9_.:-]{1,128})"'
).match
_CLASSES: Final[dict[str, EventClass]] = {JOB_PROGRESS: "progress", JOB_LOG: "log"}
_NAMES: Final = {name.encode(): name for name in LAW}
_position: Final = Position._make
LARGEST_MESSAGE: Final = 80 * 1024
"""An event with its number; the journal takes 64 KiB of event."""


class Dialect(Protocol):
    """How a door writes a message."""

    def encode(self, message: "Message") -> bytes: ...

    def join(self, entries: "list[bytes]") -> bytes:
        """Several in one; the bytes of one after those of the other."""
        ...


class Message:
    """Something to be sent to a client: ``wire`` is ``[name, payload]`` in JSON; ``position`` is None for no event.

    ``over``, for a snapshot: the job it shows has ended.
    """

    __slots__ = ("_frames", "job_id", "name", "over", "position", "wire")

    def __init__(
        self, name: str, wire: bytes, job_id: str, position: Position | None = None, *, over: bool = False
    ) -> None:
        self.name = name
        self.wire = wire
        self.job_id = job_id
        self.position = position
        self.over = over
        self._frames: dict[Dialect, bytes] | None = None

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

    @property
    def ends_job(self) -> bool:
        """Whether the job is over with this. A quote within a text is escaped, so the words cannot be faked by one."""
        if self.over:
            return True
        if self.name == JOB_FAILED:
            return b'"final":true' in self.wire
        return self.name in {JOB_COMPLETED, JOB_CANCELLED}

    def encoded(self, dialect: Dialect) -> bytes:
        """The message as this door writes it: made once, however many clients it goes to."""
        if self._frames is None:
            self._frames = {}
        frame = self._frames.get(dialect)
        if frame is None:
            frame = self._frames[dialect] = dialect.encode(self)
        return frame


def parse(wire: bytes) -> Message | None:
    """The event in ``wire``, or None when it is none: cut short, not text, or somebody else's."""
    found = _match(wire)
    # A line break cannot stand in JSON as the journal writes it, and would end an SSE field.
    if found is None or not wire.endswith(b"}]") or len(wire) > LARGEST_MESSAGE or b"\n" in wire or b"\r" in wire:
        return None
    if not wire.isascii():
        try:
            wire.decode()
        except UnicodeDecodeError:
            return None
    name, seq, epoch, job_id = found.groups()
    return Message(_NAMES.get(name) or name.decode(), wire, job_id.decode(), _position((epoch.decode(), int(seq))))


def with_skipped(message: Message, skipped: int) -> Message:
    """The same event, saying that it replaces the ``skipped`` ones before it."""
    start = len(message.name) + 5
    wire = b'%s"skipped":%d,%s' % (message.wire[:start], skipped, message.wire[start:])
    return Message(message.name, wire, message.job_id, message.position, over=message.over)
