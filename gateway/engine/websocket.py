"""A WebSocket connection as a protocol of the event loop: the websockets library's core, and nothing runs beside it.

No task, queue or timer belongs to a connection. It is its own outlet: a message is handed to the kernel at once, and
what the kernel does not take waits in the outbox until it does. While it waits nothing is read either, so that whoever
asks without reading (calls, a flood of pings) is held up by TCP and costs no memory.
"""

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from typing import Final

from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol as Core
from websockets.protocol import State

from jobcast.gateway.engine.messages import Messages, Receiver, Unfit
from jobcast.gateway.engine.stalls import Stalls, unacknowledged
from jobcast.gateway.engine.turns import MOST, Turns
from jobcast.gateway.outlet import Outlet
from jobcast.shared import logs

CLOSING: Final = 1.0
"""Seconds a peer has to answer our close frame; then the connection is dropped."""
_RESET: Final = struct.pack("ii", 1, 0)
BAD: Final = "bad-frame"
AT_ONCE: Final = frozenset({1002, 1003, 1007, 1008, 1009})
"""Codes for what the client did wrong (RFC 6455, section 7.4): nothing it may still say is waited for."""
log = logs.get("websocket")


class WebSocketConnection(Outlet, asyncio.Protocol):
    """``fragments`` bounds the frames of one message; ``on_lost`` is called once the descriptor goes."""

    __slots__ = (
        "_closer",
        "_core",
        "_corked",
        "_fd",
        "_messages",
        "_on_lost",
        "_paused",
        "_stalls",
        "_transport",
        "_turns",
        "reason",
        "receiver",
    )

    def __init__(
        self,
        core: Core,
        transport: asyncio.Transport,
        stalls: Stalls,
        fragments: int,
        on_lost: "Callable[[WebSocketConnection], None]",
    ) -> None:
        super().__init__()
        self.receiver: Receiver | None = None
        self._core = core
        self._transport = transport
        self._stalls = stalls
        self._on_lost = on_lost
        self._fd: int = transport.get_extra_info("socket").fileno()
        # The transport's own write costs a fifth more. It is passed by only while it holds nothing, and the descriptor
        # is ours until connection_lost: nobody else can have been given its number.
        self.descriptor = self._fd
        self._messages = Messages(fragments)
        self._corked = False
        self._paused = 0
        self.reason = ""
        """Why it ended; empty while it is open."""
        self._closer: asyncio.TimerHandle | None = None
        self._turns: Turns | None = None
        # With no high-water mark the transport says at once whether it had to keep anything.
        transport.set_write_buffer_limits(high=0)

    @property
    def open(self) -> bool:
        return not self.reason

    @property
    def _stuck(self) -> bool:
        """The kernel takes no more: a last word would wait behind what the client does not read."""
        return self.blocked and not self._corked

    # The outlet.

    def write(self, entry: bytes) -> None:
        if self.reason:
            return
        try:
            sent = os.write(self._fd, entry)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.broken()
            return
        if sent < len(entry):
            self.rest(entry[sent:])

    def rest(self, entry: bytes) -> None:
        self._transport.write(entry)

    def broken(self) -> None:
        self.abort("gone")

    def push(self, entry: bytes) -> None:
        # Answers come in threes and fours (a snapshot, its event, the acknowledgement): what is said within one turn of
        # the loop goes out in one write, and events said meanwhile line up behind it.
        if not self.blocked and not self.reason:
            self.blocked = self._corked = True
            asyncio.get_running_loop().call_soon(self._uncork)
        super().push(entry)

    def _uncork(self) -> None:
        self._corked = False
        self.blocked = False
        if not self.reason:
            self.drain()

    def slow(self) -> None:
        # A close frame would wait behind what the client does not read, and so would the descriptor. By a reset, or the
        # kernel would keep what it has not sent, and try for minutes.
        if self._fd >= 0:
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.abort("slow")

    def left(self) -> int:
        return self._transport.get_write_buffer_size() + unacknowledged(self._fd) if self._fd >= 0 else 0

    def pause_writing(self) -> None:
        self.blocked = True
        self._stalls.add(self)
        self.pause_reading()

    def resume_writing(self) -> None:
        self.blocked = False
        self._stalls.discard(self)
        if not self.reason:
            self.drain()
        self.resume_reading()

    # Reading. Who asks for a pause must end it as often.

    def pause_reading(self) -> None:
        if self.reason:
            return
        self._paused += 1
        if self._paused == 1 and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self.reason:
            return
        self._paused -= 1
        if self._paused == 0 and self._turns is None and not self._transport.is_closing():
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self._turns is not None:
            self._turns.add(data)
        elif len(data) > MOST:
            self._turns = Turns(self, data)
            self._turns.go_on()
        else:
            self.take(data)

    @property
    def gone(self) -> bool:
        return self._fd < 0

    def hold(self) -> None:
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def taken(self) -> None:
        self._turns = None
        if (not self._paused or self.reason) and not self._transport.is_closing():
            self._transport.resume_reading()

    def take(self, data: bytes | bytearray) -> None:
        """Parse these bytes and give on what they complete."""
        core = self._core
        core.receive_data(data)
        if not self.open:
            # Nothing counts any more but the answer to our close frame.
            if core.close_rcvd is not None or core.parser_exc is not None:
                self._transport.close()
            core.events_received()
            return
        for event in core.events_received():
            if self.open:
                assert isinstance(event, Frame)
                self._frame(event)
        if core.parser_exc is not None and self.open:
            log.info("what came is no WebSocket", reason=str(core.parser_exc)[:200])
            self._finish(BAD, at_once=True)
        else:
            self._answer()

    def eof_received(self) -> None:
        self.abort("gone")

    def connection_lost(self, _exc: Exception | None) -> None:
        self._end(self.reason or "gone")
        self._fd = -1
        # The core and its parser hold each other, and with them what was read: the collector would come, but late, and
        # whoever attacks again and again would cost megabytes until then.
        self._core.parser.close()
        self._core.parser_exc = None
        self._stalls.discard(self)
        if self._closer is not None:
            self._closer.cancel()
        self._on_lost(self)

    # Ending.

    def close(self, code: int = 1000, reason: str = "gone") -> None:
        """Say goodbye with a close frame; the connection is dropped when the peer has answered, or a second later."""
        if self.reason:
            return
        if self._stuck:
            self.abort(reason)
            return
        if self._core.state is State.OPEN:
            self._core.send_close(code, reason[:100])
        self._finish(reason, at_once=code in AT_ONCE)

    def abort(self, reason: str) -> None:
        """Drop the connection at once, with all it was still to be sent."""
        self._end(reason)
        self._transport.abort()

    def drop(self) -> None:
        """After :meth:`close`: do not wait for the answer of a peer that had its time."""
        self._transport.close()

    def shutdown(self) -> None:
        """The server stops (uvicorn's call)."""
        self.close(1001, "stopping")

    def _finish(self, reason: str, *, at_once: bool = False) -> None:
        """Send the core's last words and wait a moment for the peer's; ``at_once`` ends our side without that."""
        self._answer()
        if self._corked:
            self._uncork()
        self._end(reason)
        if self._stuck:
            self._transport.abort()
        elif self._core.close_rcvd is not None:
            self._transport.close()
        elif not self._transport.is_closing():
            if at_once:
                # Closing with bytes unread would reset the connection, and our close frame with it.
                self._transport.write_eof()
            self._closer = asyncio.get_running_loop().call_later(CLOSING, self._transport.abort)

    def _end(self, reason: str) -> None:
        if self.reason:
            return
        self.reason = reason
        self.descriptor = -1
        self.outbox.clear()
        if self._paused and self._turns is None and not self._transport.is_closing():
            # Held up, the peer's close frame would never be read.
            self._transport.resume_reading()
        if self.receiver is not None:
            receiver, self.receiver = self.receiver, None
            receiver.lost(reason)

    # Frames.

    def _frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE:
            self._finish("gone")
            return
        try:
            message = self._messages.add(frame)
        except Unfit as error:
            self._core.fail(error.code, str(error))
            self._finish(BAD, at_once=True)
            return
        receiver = self.receiver
        if message is None or receiver is None:
            return
        if isinstance(message, str):
            receiver.text(message)
        else:
            receiver.binary(message)

    def _answer(self) -> None:
        """Send what the core has to say: pongs, and close frames."""
        words = b"".join(self._core.data_to_send())
        if words and not self.reason:
            # Behind what is kept; while there is any, no ping is read that would ask for more.
            self.push(words)
