"""How each door writes a message: in a WebSocket frame (Socket.IO or plain), as a polled packet, as an SSE block."""

import struct
from typing import Final

from jobcast.gateway.wire import Dialect, Message, parse
from jobcast.shared.position import Position

PACKET_END: Final = b"\x1e"
"""Ends each polled packet (Engine.IO's record separator). JSON escapes it, so it stands nowhere else."""
_short: Final = struct.Struct("!BB").pack
_middle: Final = struct.Struct("!BBH").pack
_long: Final = struct.Struct("!BBQ").pack


def text_frame(payload: bytes) -> bytes:
    """A whole, unmasked WebSocket text frame (RFC 6455, section 5.2), as a server sends it."""
    return frame(0x81, payload)


def frame(head: int, payload: bytes) -> bytes:
    """A frame whose first byte is ``head``."""
    size = len(payload)
    if size < 126:
        return _short(head, size) + payload
    if size < 65536:
        return _middle(head, 126, size) + payload
    return _long(head, 127, size) + payload


class Wired:
    """Dialects that look at nothing but a message's bytes; what they make can be written one behind the other."""

    def event(self, wire: bytes) -> bytes:
        raise NotImplementedError

    def encode(self, message: Message) -> bytes:
        return self.event(message.wire)

    def join(self, entries: list[bytes]) -> bytes:
        return b"".join(entries)


class SocketIoFrames(Wired):
    """An EVENT packet of a namespace (Socket.IO v5) in an Engine.IO message packet, in a WebSocket frame."""

    def __init__(self, namespace: str) -> None:
        self._prefix = socketio_prefix(namespace)

    def event(self, wire: bytes) -> bytes:
        prefix = self._prefix
        size = len(prefix) + len(wire)
        if 126 <= size < 65536:
            # Nearly all events are of this size; it is their only copy.
            return b"".join((_middle(0x81, 126, size), prefix, wire))
        return text_frame(prefix + wire)


class SocketIoPackets(Wired):
    """The same for long-polling: one packet of a payload."""

    def __init__(self, namespace: str) -> None:
        self._prefix = socketio_prefix(namespace)

    def event(self, wire: bytes) -> bytes:
        return self._prefix + wire + PACKET_END


class PlainFrames(Wired):
    """``[event, payload]`` in a WebSocket frame."""

    def event(self, wire: bytes) -> bytes:
        return text_frame(wire)


class Block(bytes):
    """An SSE block, which knows whether the job is over with it."""

    ends_job: bool = False


class SseBlocks:
    """``event:``, ``id:`` and ``data:`` (HTML Standard, server-sent events); ``id`` is the position, in the job."""

    def event(self, wire: bytes) -> bytes:
        message = parse(wire)
        assert message is not None, "it is known to be an event"
        return self.encode(message)

    def place(self, message: Message) -> Position | None:
        return message.position

    def encode(self, message: Message) -> bytes:
        at = self.place(message)
        place = b"id: %s\n" % str(at).encode() if at is not None else b""
        block = Block(b"event: %s\n%sdata: %s\n\n" % (message.name.encode(), place, message.payload))
        block.ends_job = message.ends_job
        return block

    def join(self, entries: list[bytes]) -> bytes:
        """It is over with the whole if it is with the last."""
        block = Block(b"".join(entries))
        block.ends_job = isinstance(entries[-1], Block) and entries[-1].ends_job
        return block


class QueueBlocks(SseBlocks):
    """The same for a queue's stream: ``id`` is the position in the queue."""

    def place(self, message: Message) -> Position | None:
        return message.queue_position


def socketio_prefix(namespace: str) -> bytes:
    """What stands before the JSON of an event: Engine.IO's message type, Socket.IO's event type, the namespace."""
    return b"42" if namespace == "/" else b"42%s," % namespace.encode()


PLAIN: Final[Dialect] = PlainFrames()
SSE: Final[Dialect] = SseBlocks()
SSE_OF_QUEUE: Final[Dialect] = QueueBlocks()

__all__ = [
    "PACKET_END",
    "PLAIN",
    "SSE",
    "SSE_OF_QUEUE",
    "Block",
    "SocketIoFrames",
    "SocketIoPackets",
    "frame",
    "text_frame",
]
