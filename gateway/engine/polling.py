"""HTTP long-polling: packets wait in an outlet until a GET asks for them; a POST brings some.

One GET and one POST at a time (Engine.IO protocol, section "HTTP long-polling"): a second one ends the session, for its
packets could arrive in any order.
"""

import asyncio
import base64
from collections.abc import Coroutine
from typing import Any, Final

from jobcast.gateway.dialects import PACKET_END, frame, text_frame
from jobcast.gateway.engine import packets
from jobcast.gateway.outlet import PullOutlet

MOST_POLLED: Final = 12
"""Packets in one answer: python-engineio's clients give up on more than 16."""
NOOP: Final = packets.NOOP.encode()


class Polling:
    """The polling side of a session: :meth:`poll` is a GET's, ``posting`` a POST's."""

    __slots__ = ("_poll", "outlet", "posting", "released")

    def __init__(self) -> None:
        # Its session says what becomes of a client that is too slow.
        self.outlet = PullOutlet(lambda: None)
        self.posting = False
        self._poll: asyncio.Task[bool] | None = None
        self.released = False

    @property
    def polled(self) -> bool:
        return self._poll is not None

    def poll(self) -> Coroutine[Any, Any, bytes | None]:
        """The next packets, as soon as there is one; a noop when released; None when the session is over.

        It counts as a poll from the call on: of two that come within one turn of the loop the second is one too many.
        """
        waiting = self._poll = asyncio.ensure_future(self.outlet.ready())
        return self._answer(waiting)

    async def _answer(self, waiting: "asyncio.Task[bool]") -> bytes | None:
        try:
            if self.released and not len(self.outlet.outbox):
                return NOOP
            await asyncio.wait([waiting])
            if waiting.cancelled():
                return NOOP
            return self._next() if waiting.result() else None
        finally:
            waiting.cancel()
            self._poll = None

    def handshake(self) -> bytes:
        """The first answer: the open packet, and what was said with it."""
        return self._next()

    def release(self) -> None:
        """Answer the poll that waits, and those to come, with a noop: the client is about to leave polling."""
        self.released = True
        if self._poll is not None:
            self._poll.cancel()

    def close(self) -> None:
        self.outlet.end()

    def hand_over(self) -> list[bytes]:
        """End polling; what was not polled, as WebSocket frames."""
        owed: list[bytes] = []
        while len(self.outlet.outbox):
            owed += _packets(self.outlet.outbox.take())
        self.outlet.end()
        return [_framed(packet) for packet in owed]

    @staticmethod
    def binary(data: bytes) -> bytes:
        """A binary message as it is polled."""
        return b"b" + base64.b64encode(data) + PACKET_END

    def _next(self) -> bytes:
        found = _packets(self.outlet.take())
        now, later = found[:MOST_POLLED], found[MOST_POLLED:]
        if later:
            self.outlet.outbox.put_back([packet + PACKET_END for packet in later])
        return PACKET_END.join(now)


def _packets(entries: list[bytes]) -> list[bytes]:
    """One by one: an entry may hold several."""
    return [packet for entry in entries for packet in entry.split(PACKET_END) if packet]


def _framed(packet: bytes) -> bytes:
    if packet.startswith(b"b"):
        return frame(0x82, base64.b64decode(packet[1:]))
    return text_frame(packet)
