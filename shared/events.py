"""The eight events, as frozen structs; their JSON is the protocol's (camelCase, absent when None).

On the wire an event is the array ``["job-progress", {"seq": 7, "epoch": "k3v9", ...}]``. ``seq`` and ``epoch`` are
the journal's to give: a writer's event carries neither, and the journal puts them first in the object. Field
constraints bind on decoding only; writers go through :func:`encode_body`, which refuses what JSON cannot carry.
"""

import re
from typing import Any, ClassVar, Final

import msgspec

from jobcast.shared.errors import BadRequest, PayloadTooLarge
from jobcast.shared.states import (
    CHILDREN_PROGRESS,
    JOB_CANCELLED,
    JOB_COMPLETED,
    JOB_FAILED,
    JOB_LOG,
    JOB_PROGRESS,
    JOB_QUEUED,
    JOB_STALLED,
    JOB_STARTED,
    LAW,
    MOVED_ON,
    Rule,
    State,
)

LARGEST_EVENT: Final = 64 * 1024
"""Bytes of one event's JSON. A handler's larger result is refused by name, not cut."""

DEEPEST: Final = 100
"""How deep values may be nested. A reader deep in its own stack gives up long before the writer did."""

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
_BRACKET = re.compile(rb"[\[\]{}]")
_LONG_NUMBER = re.compile(rb"[0-9]{19}")
_INTEGER = re.compile(rb"(?<![0-9.eE+-])-?[0-9]{19,}(?![0-9.eE])")


class Event(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """What all events carry. ``timestamp`` (Unix ms) is for display: order is by ``seq`` alone."""

    kind: ClassVar[str]

    seq: int = 0
    epoch: str = ""
    job_id: str
    queue: str
    attempt: int
    timestamp: int

    @property
    def rule(self) -> Rule:
        """The event's row of the law."""
        return LAW[self.kind]

    @property
    def follows(self) -> frozenset[str]:
        """The states, within one attempt, in which the event is taken."""
        return self.rule.follows

    @property
    def leads_to(self) -> State:
        """The state the job is in after this event."""
        return self.rule.leads_to

    @property
    def ends_attempt(self) -> bool:
        """Nothing more of this attempt may follow."""
        return False

    @property
    def terminal(self) -> bool:
        """Nothing more of this job may follow, unless a new attempt opens it again."""
        return False


class Children(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """How many children a job waits for, and by what share (0-1) of its progress they move it.

    ``weight``: of all of them together, where it is known.
    """

    total: int
    share: float
    weight: float | None = None


class JobQueued(Event, frozen=True, kw_only=True):
    """The job was queued; ``delay`` in ms. ``weight``: what it counts among the children of its parent.

    With ``children`` it waits for them first; told again without, it waits for a worker.
    """

    kind = JOB_QUEUED
    name: str
    max_attempts: int
    delay: int | None = None
    priority: int | None = None
    parent_id: str | None = None
    weight: float | None = None
    children: Children | None = None

    @property
    def follows(self) -> frozenset[str]:
        return MOVED_ON.get(self.leads_to, frozenset())

    @property
    def leads_to(self) -> State:
        if self.children is not None:
            return "waiting-children"
        return "delayed" if self.delay else "waiting"


class JobStarted(Event, frozen=True, kw_only=True):
    """A worker took the job; ``queue_to_start_time`` is how long it waited, in ms."""

    kind = JOB_STARTED
    queue_to_start_time: int
    worker: str


class JobProgress(Event, frozen=True, kw_only=True):
    """``progress`` as the handler gave it; ``percent`` 0-100 where it can be told; ``eta`` in ms."""

    kind = JOB_PROGRESS
    progress: float | int | dict[str, Any]
    percent: float | int | None = None
    details: Any = None
    stage: str | None = None
    eta: int | None = None
    children: dict[str, int] | None = None


class ChildrenProgress(JobProgress, frozen=True, kw_only=True):
    """How far a job is that waits for its children, and in which states they are, by number."""

    @property
    def rule(self) -> Rule:
        return LAW[CHILDREN_PROGRESS]


class JobLog(Event, frozen=True, kw_only=True):
    """One line of what the handler had to say."""

    kind = JOB_LOG
    line: str
    level: str | None = None


class JobStalled(Event, frozen=True, kw_only=True):
    """Nothing was heard of the worker since ``last_seen`` (Unix ms)."""

    kind = JOB_STALLED
    last_seen: int
    reason: str


class _Ended(Event, frozen=True, kw_only=True):
    @property
    def ends_attempt(self) -> bool:
        return True

    @property
    def terminal(self) -> bool:
        return True


class JobCompleted(_Ended, frozen=True, kw_only=True):
    """``processing_time``: ms in the handler; ``total_time``: ms since the job was queued."""

    kind = JOB_COMPLETED
    result: Any
    processing_time: int
    total_time: int


class JobFailed(_Ended, frozen=True, kw_only=True):
    """One attempt failed; the job is over only when ``final``, else it is tried again at ``retry_at``."""

    kind = JOB_FAILED
    error: str
    attempts: int
    max_attempts: int
    final: bool
    processing_time: int
    retry_at: int | None = None

    @property
    def leads_to(self) -> State:
        if self.final:
            return "failed"
        return "delayed" if self.retry_at and self.retry_at > self.timestamp else "waiting"

    @property
    def terminal(self) -> bool:
        return self.final


class JobCancelled(_Ended, frozen=True, kw_only=True):
    """Somebody asked for the job to be stopped, and it was."""

    kind = JOB_CANCELLED
    reason: str | None = None


EVENTS: Final[dict[str, type[Event]]] = {
    kind.kind: kind
    for kind in (
        JobQueued,
        JobStarted,
        JobProgress,
        JobLog,
        JobStalled,
        JobCompleted,
        JobFailed,
        JobCancelled,
    )
}

_encoder = msgspec.json.Encoder()
_decoders = {name: msgspec.json.Decoder(kind) for name, kind in EVENTS.items()}
_wire = msgspec.json.Decoder(tuple[str, msgspec.Raw])


def encode_body(event: Event) -> bytes:
    """The event's JSON object without its opening brace, for the journal to put ``seq`` and ``epoch`` before.

    Raises:
        BadRequest: a value JSON cannot carry (an open file, an integer beyond 64 bits, endless nesting), or one that
            could not be read back (progress that is no number: NaN is null in JSON).
        PayloadTooLarge: more than ``LARGEST_EVENT`` bytes.
    """
    try:
        body = _encoder.encode(event)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BadRequest(f"{event.kind} cannot be written as JSON: {error}") from error
    if len(body) > LARGEST_EVENT:
        raise PayloadTooLarge(
            f"{event.kind} is {len(body)} bytes; at most {LARGEST_EVENT} are kept. "
            "Store the data elsewhere and report where it is."
        )
    if event.seq or event.epoch:
        raise BadRequest(f"{event.kind} already carries a position; the journal gives it one")
    if body.count(b"[") + body.count(b"{") > DEEPEST or _LONG_NUMBER.search(body):
        _check_readable(event.kind, _STRING.sub(b"", body))
    try:
        _decoders[event.kind].decode(body)
    except msgspec.DecodeError as error:
        raise BadRequest(f"{event.kind} could not be read back: {error}") from error
    return body[1:]


def _check_readable(kind: str, bare: bytes) -> None:
    """Refuse what our encoder writes and other readers, our own HTTP answers among them, cannot take."""
    depth = deepest = 0
    for bracket in _BRACKET.findall(bare):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    if deepest > DEEPEST:
        raise BadRequest(f"{kind} cannot be written as JSON: it is nested {deepest} deep; at most {DEEPEST} are kept")
    for number in _INTEGER.findall(bare):
        if not -(2**63) <= int(number) < 2**64:
            raise BadRequest(f"{kind} cannot be written as JSON: it holds an integer beyond 64 bits")


def decode(wire: bytes) -> Event:
    """Read ``[event, payload]`` as the journal published it.

    Raises:
        BadRequest: it is no event of ours. A reader that must carry events newer than itself passes the bytes
            on instead of decoding them.
    """
    try:
        name, payload = _wire.decode(wire)
        decoder = _decoders.get(name)
        if decoder is None:
            raise BadRequest(f"expected one of {', '.join(EVENTS)}; got {name[:64]!r}")
        return decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"expected an event as [name, payload]: {error}") from error
