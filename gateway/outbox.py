"""What one connection still has to be sent: bounded in bytes, in order. Values in, values out; no I/O.

Two doors. Events may be refused: what is refused stands in the journal and is read from there once the client has
caught up, so a slow reader costs at most ``mark`` bytes. Answers (snapshots, acknowledgements) are always taken; they
are bounded by what the client may ask for, and one that asks without reading is closed at ``limit``.
"""

from collections import deque
from typing import Final

from jobcast.gateway.wire import Message

MARK: Final = 128 * 1024
LIMIT: Final = 2 * 1024 * 1024
_OVERHEAD: Final = 128
"""What a queued message costs in objects, besides its bytes."""


class Overflow(Exception):
    """The client asks for more than it reads; it is to be closed as slow."""


class Outbox:
    """First in, first out. ``size`` is in bytes, the overhead of each message counted."""

    __slots__ = ("_limit", "_mark", "_messages", "size")

    def __init__(self, mark: int = MARK, limit: int = LIMIT) -> None:
        self._messages: deque[Message] = deque()
        self._mark = mark
        self._limit = limit
        self.size = 0

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def roomy(self) -> bool:
        """Half empty again: time to catch up on what was refused."""
        return self.size <= self._mark // 2

    def offer(self, message: Message) -> bool:
        """Queue an event, or answer False when there is no room for it."""
        if self.size >= self._mark:
            return False
        self._push(message)
        return True

    def push(self, message: Message) -> None:
        """Queue an answer.

        Raises:
            Overflow: the client does not read what it asks for.
        """
        if self.size >= self._limit:
            raise Overflow
        self._push(message)

    def take(self, most: int = 64 * 1024) -> list[Message]:
        """The next messages, about ``most`` bytes of them, at least one if there is any."""
        taken: list[Message] = []
        size = 0
        while self._messages and (not taken or size < most):
            message = self._messages.popleft()
            size += len(message.wire) + _OVERHEAD
            taken.append(message)
        self.size -= size
        return taken

    def clear(self) -> None:
        self._messages.clear()
        self.size = 0

    def _push(self, message: Message) -> None:
        self._messages.append(message)
        self.size += len(message.wire) + _OVERHEAD
