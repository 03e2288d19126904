"""Frames put together to messages (RFC 6455, section 5.4). Values in, values out; no I/O."""

from typing import Protocol

from websockets.frames import Frame, Opcode


class Unfit(Exception):
    """These frames make no message; ``code`` is for the close frame (RFC 6455, section 7.4.1)."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


class Receiver(Protocol):
    """Who is told what a connection brings."""

    def text(self, data: str) -> None: ...

    def binary(self, data: bytes, /) -> None: ...

    def lost(self, reason: str, /) -> None:
        """It is over; called once. ``slow``, ``gone``, ``bad-frame``, or the word :meth:`close` was given."""
        ...


class Messages:
    """The core has seen to the order of frames and to a message's size; ``most`` bounds the frames of one."""

    __slots__ = ("_most", "_parts", "_text")

    def __init__(self, most: int) -> None:
        self._most = most
        self._parts: list[bytes] | None = None
        self._text = False

    def add(self, frame: Frame) -> str | bytes | None:
        """The message that is whole with this frame; None when none is.

        Raises:
            Unfit: it has too many frames, or is a text that is no UTF-8.
        """
        opcode = frame.opcode
        if opcode is Opcode.TEXT or opcode is Opcode.BINARY:
            if frame.fin:
                return _read(bytes(frame.data), text=opcode is Opcode.TEXT)
            self._text, self._parts = opcode is Opcode.TEXT, [bytes(frame.data)]
        elif opcode is Opcode.CONT:
            return self._more(frame)
        return None

    def _more(self, frame: Frame) -> str | bytes | None:
        # The core refuses a continuation of nothing.
        assert self._parts is not None
        self._parts.append(bytes(frame.data))
        if frame.fin:
            whole, self._parts = b"".join(self._parts), None
            return _read(whole, text=self._text)
        if len(self._parts) >= self._most:
            raise Unfit(1008, f"more than {self._most} fragments")
        return None


def _read(data: bytes, *, text: bool) -> str | bytes:
    if not text:
        return data
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Unfit(1007, f"{error.reason} at position {error.start}") from error
