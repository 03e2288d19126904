"""What a client may cost. Each has a safe default; what goes beyond is refused by name or closed, and counted."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Spans are seconds, sizes bytes.

    ``header``, ``connect`` and ``body`` are deadlines: for the whole head of a request (silence included), for a first
    Socket.IO CONNECT after the connection, for the body of a request. ``write`` without any progress in writing ends a
    client as slow. ``ping_interval`` and ``ping_timeout`` are Engine.IO's. One poll and
    one post at a time is the protocol's own rule.
    """

    connections: int = 10_000
    header_size: int = 16 * 1024
    message_size: int = 64 * 1024
    fragments: int = 64
    attachments: int = 10
    header: float = 5.0
    connect: float = 5.0
    body: float = 10.0
    write: float = 10.0
    ping_interval: float = 25.0
    ping_timeout: float = 20.0
