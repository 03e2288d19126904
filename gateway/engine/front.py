"""Every TCP connection begins here: the head of its first request is waited for, measured and sent where it belongs.

uvicorn's own parsers take a head of any size for as long as it takes, and open what any client asks for. Here the head
has a deadline and a cap before a parser sees it, and a WebSocket's is read once (see engine.handshake).
"""

import asyncio
import logging
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from websockets.protocol import SERVER, Protocol

from jobcast.gateway.engine import handshake
from jobcast.gateway.engine.handshake import Refused, Request
from jobcast.gateway.engine.house import House
from jobcast.gateway.engine.http import HttpConnection
from jobcast.gateway.engine.websocket import BAD, WebSocketConnection
from jobcast.gateway.engine.wheel import Due

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

_END: Final = re.compile(rb"\n\r?\n")
_KNOWN: Final = re.compile(rb"[^\n]* HTTP/1\.[01]\r?\n")
_WEBSOCKET: Final = re.compile(rb"\nupgrade:[ \t]*websocket", re.IGNORECASE)
# It reports each connection that ends, and whatever a client did wrong, as its own.
_QUIET: Final = logging.getLogger("jobcast.websockets")
_QUIET.disabled = True


class Front(asyncio.Protocol):
    """One for each connection, until its first request is known."""

    __slots__ = ("_config", "_crowded", "_head", "_house", "_state", "_transport", "app_state", "slot")

    def __init__(
        self,
        house: House,
        config: "Config",
        server_state: "ServerState",
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.slot: set[Due] | None = None
        self.app_state = app_state
        self._house = house
        self._config = config
        self._state = server_state
        self._head = bytearray()
        self._crowded = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        house = self._house
        self._state.connections.add(self)  # type: ignore[arg-type]
        house.count(+1)
        if house.overfull:
            # Not even health could be answered: the descriptor is needed for those who are served.
            house.turned_away("overfull")
            transport.abort()
            return
        self._crowded = house.crowded
        deadline = min(1.0, house.limits.header) if self._crowded else house.limits.header
        house.wheel.add(self, house.loop.time() + deadline)

    def connection_lost(self, _exc: Exception | None) -> None:
        self._leave()
        self._house.count(-1)

    def due(self, _now: float) -> float | None:
        """No whole head within the deadline, which also ends who says nothing."""
        self._refuse(408, "request-timeout", f"expected a whole request head within {self._house.limits.header:g} s")
        self._house.turned_away("header-deadline")
        return None

    def shutdown(self) -> None:
        """The server stops (uvicorn's call)."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        head = self._head
        start = max(0, len(head) - 3)
        head += data
        found = _END.search(head, start)
        if not head[:1].isalpha():
            self._refuse(400, "bad-request", "expected an HTTP request; is this TLS?")
        elif (found.end() if found else len(head)) > self._house.limits.header_size:
            size = self._house.limits.header_size
            self._refuse(431, "header-too-large", f"expected a request head of at most {size} bytes")
            self._house.turned_away("header-size")
        elif found is not None:
            self._leave()
            if _WEBSOCKET.search(head, 0, found.end()):
                self._open_websocket(bytes(head[: found.end()]), bytes(head[found.end() :]))
            else:
                self._hand_over(bytes(head))

    # The two ways on.

    def _hand_over(self, data: bytes) -> None:
        if not _KNOWN.match(data):
            self._refuse(505, "bad-request", "expected an HTTP/1.1 request")
            return
        if self._crowded and not self._house.is_health(data):
            self._refuse(503, "unavailable", "this gateway serves no more connections; try again later")
            self._house.turned_away("crowded")
            return
        successor = HttpConnection(self._house, self._config, self._state, self.app_state, once=self._crowded)
        self._transport.set_protocol(successor)
        successor.connection_made(self._transport)
        successor.data_received(data)

    def _open_websocket(self, head: bytes, rest: bytes) -> None:
        house = self._house
        try:
            request = handshake.read(head)
            answer = handshake.accept(request)
        except Refused as error:
            self._refuse(error.status, "bad-request", str(error), error.field)
            return
        door = house.doors.get(unquote(request.path).rstrip("/"))
        if door is None:
            self._refuse(404, "bad-request", "no WebSocket is served at this path")
            return
        refused = self._refusal(request) or door.refuse(request.query)
        if refused is not None:
            self._reply(*refused)
            return
        core = Protocol(SERVER, max_size=house.limits.message_size, logger=_QUIET)
        connection = WebSocketConnection(core, self._transport, house.stalls, house.limits.fragments, self._lost)
        self._transport.set_protocol(connection)
        self._state.connections.add(connection)  # type: ignore[arg-type]
        connection.push(answer)
        door.enter(connection, request.query)
        if rest:
            connection.data_received(rest)

    def _refusal(self, request: Request) -> tuple[int, bytes] | None:
        house = self._house
        problem = house.guard.problem(request.all(b"host"), request.all(b"origin"))
        if problem is not None:
            return 403, house.says("forbidden", problem)
        if self._crowded:
            house.turned_away("crowded")
            return 503, house.says("unavailable", "this gateway serves no more connections; try again later")
        return None

    def _lost(self, connection: WebSocketConnection) -> None:
        if connection.reason == BAD:
            self._house.turned_away(BAD)
        self._state.connections.discard(connection)
        self._house.count(-1)

    def _leave(self) -> None:
        self._house.wheel.forget(self)
        self._state.connections.discard(self)

    # Answers of our own, for who gets no further.

    def _refuse(self, status: int, code: str, message: str, field: str = "") -> None:
        self._reply(status, self._house.says(code, message), field)

    def _reply(self, status: int, body: bytes, field: str = "") -> None:
        self._house.wheel.forget(self)
        if not self._transport.is_closing():
            self._transport.write(self._house.response(status, body, field))
            self._transport.close()
