"""uvicorn's h11 connection with the bounds it lacks: deadlines for head, body and whoever does not read."""

import asyncio
from typing import Any, Final

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from jobcast.gateway.engine.house import House
from jobcast.gateway.engine.stalls import unacknowledged
from jobcast.gateway.engine.wheel import Due

LAST_BYTES: Final = 1.0
"""Seconds an answered request may still send of its body, which is read and dropped."""


class HttpConnection(H11Protocol):
    """``once``: close after the first answer, for there is no room to keep the connection."""

    def __init__(
        self, house: House, config: Config, server_state: ServerState, app_state: dict[str, Any], *, once: bool
    ) -> None:
        super().__init__(config, server_state, app_state)
        self.slot: set[Due] | None = None
        self._house = house
        self._once = once

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        their_state = self.conn.their_state
        if their_state is h11.SEND_BODY:
            self._within(self._house.limits.body)
        elif their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._within(self._house.limits.header)
        else:
            self._house.wheel.forget(self)

    def due(self, _now: float) -> float | None:
        """The head of a later request, or a body, took too long."""
        self._house.turned_away("body-deadline" if self.conn.their_state is h11.SEND_BODY else "header-deadline")
        self.transport.abort()
        return None

    def left(self) -> int:
        socket = self.transport.get_extra_info("socket")
        return self.transport.get_write_buffer_size() + unacknowledged(socket.fileno())

    def slow(self) -> None:
        self._house.too_slow()
        self.transport.abort()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._house.stalls.add(self)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._house.stalls.discard(self)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._once:
            self.transport.close()
        elif self.conn.their_state is h11.SEND_BODY and not self.transport.is_closing():
            # Answered before the body was read: closed at once, with bytes unread, the answer could be lost. Our side
            # stays open, for whoever sends all of it in time may well send the next request behind it.
            self._house.wheel.add(self, asyncio.get_running_loop().time() + LAST_BYTES)

    def send_400_response(self, msg: str) -> None:
        """The rest of a request is none. Whoever answers it already is told that nobody listens any more."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            super().send_400_response(msg)
        else:
            self.transport.close()

    def _should_upgrade(self) -> bool:
        # Its own advises to install what is installed, once for each request of anybody.
        return self._get_upgrade() == b"websocket"

    def handle_websocket_upgrade(self, _event: h11.Request) -> None:
        """A WebSocket on a connection that served requests before: no client does that."""
        self.send_400_response("open a WebSocket on a connection of its own")

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._house.wheel.forget(self)
        self._house.stalls.discard(self)
        self._house.count(-1)

    def _within(self, seconds: float) -> None:
        if self.slot is None:
            self._house.wheel.add(self, asyncio.get_running_loop().time() + seconds)
