"""What the feed brings while a record is read. Values in, values out; no I/O."""

from typing import Final

from jobcast.gateway.wire import Message

MOST_HELD: Final = 256
"""Events held while a reading is under way. Beyond, they are let go and read again afterwards."""


class Held:
    """``lost``: the reading does not hold all that happened before it ends; another one must follow."""

    __slots__ = ("_messages", "lost")

    def __init__(self) -> None:
        self.lost = False
        self._messages: list[Message] = []

    def begin(self) -> None:
        """A reading is asked for."""
        self._messages.clear()
        self.lost = False

    def add(self, message: Message) -> None:
        if len(self._messages) < MOST_HELD and not self.lost:
            self._messages.append(message)
        else:
            self._messages.clear()
            self.lost = True

    def let_go(self) -> list[Message]:
        """The reading is there: what is to be joined to it."""
        messages, self._messages = self._messages, []
        return messages
