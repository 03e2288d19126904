"""The Socket.IO door: python-socketio's namespaces and acknowledgements over our clients.

Events are not emitted through python-socketio: their bytes come encoded from the journal, so they are handed to the
connection as they are, behind the packet type and the namespace.
"""

from collections.abc import Callable
from typing import Any, Final

import socketio
from starlette.types import Receive, Scope, Send

from jobcast.gateway.calls import Calls
from jobcast.gateway.client import Client
from jobcast.gateway.dialects import SocketIoFrames, SocketIoPackets
from jobcast.gateway.doors import Clients
from jobcast.gateway.engine.limits import Limits
from jobcast.gateway.engine.server import EngineServer
from jobcast.gateway.engine.session import Session
from jobcast.gateway.engine.socketio_server import SocketIoServer
from jobcast.gateway.wire import Dialect
from jobcast.shared.errors import Unavailable

NAMESPACES: Final = ("/", "/job-progress")
PATHS: Final = ("/socket.io", "/socket.io/jobs")
_FRAMES: Final[dict[str, Dialect]] = {namespace: SocketIoFrames(namespace) for namespace in NAMESPACES}
_PACKETS: Final[dict[str, Dialect]] = {namespace: SocketIoPackets(namespace) for namespace in NAMESPACES}


class Sockets:
    """``engine`` is its WebSocket door, :meth:`__call__` its ASGI application for long-polling."""

    def __init__(self, clients: Clients, calls: Calls, limits: Limits) -> None:
        self._clients = clients
        self._calls = calls
        self._connected: dict[str, Client] = {}
        self._of_session: dict[Session, dict[str, Client]] = {}
        # No Redis manager: every gateway follows Redis itself, and a second path would send each event twice.
        self._server = _Server(self._joined, limits)
        self.engine: EngineServer = self._server.eio
        self.engine.on_upgrade = self._upgraded
        self.engine.newcomer = clients.refusal
        for namespace in NAMESPACES:
            self._server.on("connect", self._handler(self._connect, namespace), namespace=namespace)
            self._server.on("disconnect", self._handler(self._disconnect, namespace), namespace=namespace)
            self._server.on("*", self._call, namespace=namespace)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.engine.handle_request(scope, receive, send)

    async def shutdown(self) -> None:
        await self.engine.shutdown()

    @staticmethod
    def _handler(method: Callable[[str, str, Any], None], namespace: str) -> Any:
        async def handle(sid: str, about: Any = None, _auth: Any = None) -> None:
            method(sid, namespace, about)

        return handle

    def _connect(self, sid: str, namespace: str, _environ: Any) -> None:
        session = self._session(sid, namespace)
        dialect = (_FRAMES if session.transport == "websocket" else _PACKETS)[namespace]
        try:
            client = self._clients.open("socket.io", session.outlet, dialect, _hang_up(session))
        except Unavailable as error:
            raise socketio.exceptions.ConnectionRefusedError(str(error), error.to_dict()) from error
        self._connected[sid] = client
        self._of_session.setdefault(session, {})[namespace] = client

    def _joined(self, sid: str) -> None:
        """The client has been told that it is connected; from here on it may be told more."""
        if (client := self._connected.get(sid)) is not None:
            client.greet()

    def _disconnect(self, sid: str, namespace: str, reason: Any) -> None:
        client = self._connected.pop(sid, None)
        if client is None:
            return
        session = self._session(sid, namespace)
        clients = self._of_session[session]
        del clients[namespace]
        if not clients:
            del self._of_session[session]
        client.close("slow" if reason == "slow" else "gone")

    def _upgraded(self, session: Session) -> None:
        for namespace, client in self._of_session.get(session, {}).items():
            client.move(session.outlet, _FRAMES[namespace])

    async def _call(self, name: str, sid: str, *arguments: Any) -> Any:
        client = self._connected.get(sid)
        if client is None:
            return None
        return await self._calls.answer(client, name, arguments[0] if arguments else None)

    def _session(self, sid: str, namespace: str) -> Session:
        found: Session = self._server.session(sid, namespace)
        return found


class _Server(SocketIoServer):
    def __init__(self, on_joined: Callable[[str], None], limits: Limits) -> None:
        super().__init__(namespaces=list(NAMESPACES), limits=limits, at_once=True)
        self._on_joined = on_joined

    async def joined(self, sid: str, _namespace: str) -> None:
        self._on_joined(sid)


def _hang_up(session: Session) -> Callable[[Client, str], None]:
    """End the connection of a client that was closed by us.

    Not by a Socket.IO DISCONNECT: socket.io-client takes that for a farewell and does not come back by itself.
    """

    def hang_up(_client: Client, reason: str) -> None:
        if reason != "gone":
            session.close(reason)

    return hang_up
