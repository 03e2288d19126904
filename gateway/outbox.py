"""What one connection still has to be sent: bounded in bytes, in order. Values in, values out; no I/O.

Two doors. Events may be refused: what is refused stands in the journal and is read from there once the client has
caught up, so a slow reader costs at most ``mark`` bytes. Answers (snapshots, acknowledgements) are always taken; they
are bounded by what the client may ask for, and one that asks without reading is closed at ``limit``.
"""

from collections import deque
from typing import Final

MARK: Final = 128 * 1024
LIMIT: Final = 2 * 1024 * 1024
_OVERHEAD: Final = 64
"""What a queued entry costs in objects, besides its bytes."""


class Overflow(Exception):
    """The client asks for more than it reads; it is to be closed as slow."""


class Outbox:
    """First in, first out; an entry is bytes ready to be sent. ``size`` is in bytes, each entry's overhead counted."""

    __slots__ = ("_entries", "_limit", "_mark", "size")

    def __init__(self, mark: int = MARK, limit: int = LIMIT) -> None:
        self._entries: deque[bytes] = deque()
        self._mark = mark
        self._limit = limit
        self.size = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def roomy(self) -> bool:
        """Half empty again: time to catch up on what was refused."""
        return self.size <= self._mark // 2

    def offer(self, entry: bytes) -> bool:
        """Queue events, or answer False when there is no room for them. An empty outbox takes any one entry."""
        if self._entries and self.size + len(entry) > self._mark:
            return False
        self._push(entry)
        return True

    def push(self, entry: bytes) -> None:
        """Queue an answer.

        Raises:
            Overflow: the client does not read what it asks for.
        """
        if self.size >= self._limit:
            raise Overflow
        self._push(entry)

    def take(self, most: int = 64 * 1024) -> list[bytes]:
        """The next entries, about ``most`` bytes of them, at least one if there is any."""
        taken: list[bytes] = []
        size = 0
        while self._entries and (not taken or size < most):
            entry = self._entries.popleft()
            size += len(entry) + _OVERHEAD
            taken.append(entry)
        self.size -= size
        return taken

    def put_back(self, entries: list[bytes]) -> None:
        """Undo :meth:`take` for the last of what was taken."""
        self._entries.extendleft(reversed(entries))
        self.size += sum(len(entry) + _OVERHEAD for entry in entries)

    def clear(self) -> None:
        self._entries.clear()
        self.size = 0

    def _push(self, entry: bytes) -> None:
        self._entries.append(entry)
        self.size += len(entry) + _OVERHEAD
