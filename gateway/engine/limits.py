"""What a client may cost, as the settings say. What goes beyond is refused by name or closed, and counted."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Spans are seconds, sizes bytes.

    ``header``, ``connect`` and ``body`` are deadlines: for the whole head of a request (silence included), for a first
    Socket.IO CONNECT after the connection, for the body of a request. ``write`` without any progress in writing ends a
    client as slow. ``ping_interval`` and ``ping_timeout`` are Engine.IO's. One poll and
    one post at a time is the protocol's own rule.
    """

    connections: int
    header_size: int
    message_size: int
    fragments: int
    attachments: int
    header: float
    connect: float
    body: float
    write: float
    ping_interval: float
    ping_timeout: float
