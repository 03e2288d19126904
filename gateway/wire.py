"""A published event, read as far as a gateway needs: its name, its place, its job. No JSON is parsed.

The journal writes ``["<name>",{"seq":<n>,"epoch":"<e>","jobId":"<id>",...}]`` with these fields first and in this
order, so their place in the bytes is known. What does not begin so is no event of ours.
"""

import re
from typing import Final, NamedTuple

from jobcast.shared.position import Position
from jobcast.shared.states import JOB_CANCELLED, JOB_COMPLETED, JOB_FAILED, JOB_LOG, JOB_PROGRESS, EventClass

_HEAD: Final = re.compile(
    rb'\["(job-[a-z-]{1,40})",\{"seq":([1-9][0-9]{0,14}),"epoch":"([0-9a-z]{1,32})","jobId":"([A-Za-z0-9_.:-]{1,128})"'
)
_CLASSES: Final[dict[str, EventClass]] = {JOB_PROGRESS: "progress", JOB_LOG: "log"}
LARGEST_MESSAGE: Final = 80 * 1024
"""An event with its number; the journal takes 64 KiB of event."""


class Message(NamedTuple):
    """Something to be sent to a client: ``wire`` is ``[name, payload]`` in JSON; ``position`` is None for no event."""

    name: str
    wire: bytes
    job_id: str
    position: Position | None = None

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
        if self.name == JOB_FAILED:
            return b'"final":true' in self.wire
        return self.name in {JOB_COMPLETED, JOB_CANCELLED}


def parse(wire: bytes) -> Message | None:
    """The event in ``wire``, or None when it is none: cut short, not text, or somebody else's."""
    found = _HEAD.match(wire)
    # A line break cannot stand in JSON as the journal writes it, and would end an SSE field.
    if found is None or not wire.endswith(b"}]") or len(wire) > LARGEST_MESSAGE or b"\n" in wire or b"\r" in wire:
        return None
    try:
        wire.decode()
    except UnicodeDecodeError:
        return None
    name, seq, epoch, job_id = found.groups()
    return Message(name.decode(), wire, job_id.decode(), Position(epoch.decode(), int(seq)))


def with_skipped(message: Message, skipped: int) -> Message:
    """The same event, saying that it replaces the ``skipped`` ones before it."""
    start = len(message.name) + 5
    return message._replace(wire=b'%s"skipped":%d,%s' % (message.wire[:start], skipped, message.wire[start:]))
