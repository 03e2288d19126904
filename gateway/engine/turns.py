"""What one client sent ahead, a little at a time: others have their turn in between.

Ten thousand pings fit into one read of the kernel's buffer. Parsed and answered in one go they would hold up the loop
for a tenth of a second, and those of twenty such clients for two.
"""

import asyncio
import time
from typing import Final, Protocol

SLICE: Final = 128
"""Bytes parsed before the first look at the clock, or twenty of the smallest frames; twice as many before the next."""
MOST: Final = 512
"""Bytes parsed between two looks at the clock at most; so little is worth no turns."""
TURN: Final = 0.0001
"""Seconds for one client in a turn of the loop."""


class Reader(Protocol):
    """Who parses what came, in order."""

    @property
    def gone(self) -> bool: ...

    def take(self, data: bytearray, /) -> None: ...

    def hold(self) -> None:
        """Bring no more for now, or it would be kept here."""
        ...

    def taken(self) -> None:
        """Nothing waits here any more."""
        ...


class Turns:
    """Begin with :meth:`go_on`; what comes all the same is to be added."""

    __slots__ = ("_reader", "_unread")

    def __init__(self, reader: Reader, data: bytes) -> None:
        self._reader = reader
        self._unread = bytearray(data)

    def add(self, data: bytes) -> None:
        self._unread += data

    def go_on(self) -> None:
        reader, unread, size, end = self._reader, self._unread, SLICE, time.monotonic() + TURN
        while unread and not reader.gone:
            if time.monotonic() >= end:
                reader.hold()
                asyncio.get_running_loop().call_soon(self.go_on)
                return
            piece = unread[:size]
            del unread[:size]
            size = min(2 * size, MOST)
            reader.take(piece)
        reader.taken()
