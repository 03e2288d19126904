"""Ends connections that take nothing: no progress in writing for the deadline, whatever else the client does.

A client that answers pings and reads nothing looks alive to every other test. Progress is what the kernel still holds
for it (SIOCOUTQ) and what we do: bytes the client acknowledges count, also while the kernel takes no more from us.
"""

import asyncio
import contextlib
import fcntl
import struct
import termios
from typing import Final, Protocol

_int: Final = struct.Struct("i")


class Stalled(Protocol):
    """A connection that does not take what it is sent."""

    def left(self) -> int:
        """Bytes it has not taken yet; they only become fewer while it is watched here."""
        ...

    def slow(self) -> None:
        """The verdict."""
        ...


class Stalls:
    """``deadline`` in seconds. One timer, and only while somebody is stalled."""

    __slots__ = ("_deadline", "_loop", "_timer", "_watched")

    def __init__(self, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
        self._loop = loop
        self._deadline = deadline
        self._watched: dict[Stalled, tuple[int, float]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._watched)

    def add(self, connection: Stalled) -> None:
        self._watched[connection] = (connection.left(), self._loop.time())
        if self._timer is None:
            self._wind()

    def discard(self, connection: Stalled) -> None:
        self._watched.pop(connection, None)

    def _wind(self) -> None:
        self._timer = self._loop.call_later(min(1.0, self._deadline / 10), self._look)

    def _look(self) -> None:
        self._timer = None
        now = self._loop.time()
        for connection, (left, since) in tuple(self._watched.items()):
            remains = connection.left()
            if remains < left:
                self._watched[connection] = (remains, now)
            elif now - since >= self._deadline:
                self.discard(connection)
                connection.slow()
        if self._watched:
            self._wind()


def unacknowledged(fd: int) -> int:
    """Bytes in the kernel's send queue that the peer has not acknowledged (Linux; elsewhere 0)."""
    answer = bytearray(_int.size)
    with contextlib.suppress(OSError, ValueError):  # it is closed
        fcntl.ioctl(fd, termios.TIOCOUTQ, answer)
    found: int = _int.unpack(answer)[0]
    return found
