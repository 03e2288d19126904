"""The words the table of malformed input is written in: what is sent, through which door, and what may come of it."""

from dataclasses import dataclass
from typing import Literal

NO_PACKET = frozenset({1002, 1003, 1007, 1008})
"""Codes that close a connection whose packets break Engine.IO or Socket.IO: neither protocol names one."""

Door = Literal["opened", "connected", "frames", "polling", "http"]
"""``opened`` is a WebSocket session in no namespace yet, ``connected`` one in the main namespace, both sent packets;
``frames`` is the latter sent raw bytes; ``polling`` a session in the main namespace sent a body; ``http`` bare TCP.
"""


@dataclass(frozen=True)
class Closed:
    """A close frame with one of these codes, then the end of TCP."""

    codes: frozenset[int] = NO_PACKET


@dataclass(frozen=True)
class Answered:
    """The next packet begins so, and the session goes on."""

    prefix: str


@dataclass(frozen=True)
class Ignored:
    """Nothing is said, and the session goes on: a call is acknowledged."""


@dataclass(frozen=True)
class Waiting:
    """Nothing is said, and nothing but what was announced may come next."""


@dataclass(frozen=True)
class Status:
    """An HTTP status; None is a connection closed without one. ``ends``: whether the session, or where there is none
    the connection, must be over (True), go on (False), or may do as it likes (None).
    """

    statuses: frozenset[int | None]
    ends: bool | None = None


Outcome = Closed | Answered | Ignored | Waiting | Status


@dataclass(frozen=True)
class Row:
    """One line of the table: any of the outcomes will do."""

    name: str
    door: Door
    sent: tuple[str | bytes, ...]
    outcomes: tuple[Outcome, ...]


def status(*statuses: int | None, ends: bool | None = None) -> Status:
    return Status(frozenset(statuses), ends)


def closed(*codes: int) -> Closed:
    return Closed(frozenset(codes)) if codes else Closed()


CLOSED = (Closed(),)
IGNORED = (Ignored(),)
DROPPED = (Closed(), Ignored())
"""The protocols leave it open, and implementations differ: either is good, as long as it is one of them."""


def rows(
    door: Door, outcomes: tuple[Outcome, ...], *named: tuple[str, str | bytes | tuple[str | bytes, ...]]
) -> list[Row]:
    """Rows of the same door and outcome."""
    return [Row(name, door, sent if isinstance(sent, tuple) else (sent,), outcomes) for name, sent in named]
