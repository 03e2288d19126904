"""The state of a queue's circuit breaker, as whoever watches the queue is told of it. Pure."""

from typing import Final, Literal

import msgspec

QUEUE_CIRCUIT: Final = "queue-circuit"
CircuitState = Literal["closed", "open", "half-open"]


class Circuit(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """``until`` (Unix ms): when an open one lets a first job through. ``timestamp`` (Unix ms): when it changed last.

    By Redis' clock, and each later than the one before.
    """

    queue_name: str
    state: CircuitState
    timestamp: int = 0
    until: int | None = None
    reason: str | None = None
