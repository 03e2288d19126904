"""The Engine.IO v4 server that python-socketio stands on: sessions, their handshakes, and long-polling over ASGI.

``socketio.AsyncServer`` builds it by ``_engineio_server_class()``, and uses what stands under "What python-socketio
calls".
"""

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from typing import Any, Final
from urllib.parse import parse_qs

import orjson
from starlette.types import Receive, Scope, Send

from jobcast.gateway.engine import longpoll, session
from jobcast.gateway.engine.limits import Limits
from jobcast.gateway.engine.polling import Polling
from jobcast.gateway.engine.session import Probe, Session
from jobcast.gateway.engine.websocket import WebSocketConnection
from jobcast.gateway.engine.wheel import Wheel
from jobcast.shared import logs
from jobcast.shared.errors import JobcastError, Unavailable

Handler = Callable[..., Any]
_COUNTED: Final = {session.PING_TIMEOUT: "ping-timeout", session.CONNECT_TIMEOUT: "connect-deadline"}
UPGRADE_DEADLINE: Final = 10.0
_USUAL: Final = "EIO=4&transport=websocket"
"""What nearly every client asks, as its library writes it."""
log = logs.get("engine")


class EngineServer:
    """One for each gateway. ``stopping`` refuses new sessions; :meth:`shutdown` ends those that are left."""

    def __init__(self, *, limits: Limits, **_options: Any) -> None:
        self.limits = limits
        self.sessions: dict[str, Session] = {}
        self.async_mode = "asgi"
        self.stopping = False
        self.on_upgrade: Callable[[Session], None] | None = None
        self.on_turned_away: Callable[[str], None] = _nothing
        """Told why a session was ended, where it was the client's doing."""
        self.at_once: Callable[[str, str | bytes], bool] = lambda _sid, _data: False
        """Handles a message if that needs no waiting; may raise :class:`BadMessage`."""
        self.newcomer: Callable[[], JobcastError | None] = _nothing
        """Asked once for each new session: why it is to come again later."""
        self._wheel: Wheel | None = None
        self._handlers: dict[str, Handler] = dict.fromkeys(("connect", "message", "disconnect"), _nothing)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._polls = longpoll.LongPolling(self)

    @property
    def wheel(self) -> Wheel:
        if self._wheel is None:
            self._wheel = Wheel(asyncio.get_running_loop())
        return self._wheel

    def use(self, wheel: Wheel) -> None:
        """Share the wheel of the house."""
        self._wheel = wheel

    # The WebSocket door (see engine.front).

    def refuse(self, query: str) -> tuple[int, bytes] | None:
        """Why a WebSocket may not be opened: a status and a body; None when it may."""
        if query == _USUAL:
            return self.refuse_newcomer()
        asked = parse_qs(query)
        code = longpoll.bad_handshake(asked, "websocket")
        sid = longpoll.first(asked, "sid")
        if code is None and sid is not None:
            found = self.sessions.get(sid)
            code = 1 if found is None else 3 if found.polling is None or found.probe is not None else None
        if code is not None:
            return 400, longpoll.error(code)
        return self.refuse_newcomer() if sid is None or self.stopping else None

    def refuse_newcomer(self) -> tuple[int, bytes] | None:
        """Why a new session is to come again later: a status and a body; None lets it in, and counts it."""
        error = Unavailable("this gateway is stopping; connect again") if self.stopping else self.newcomer()
        return None if error is None else (503, orjson.dumps(error.to_dict()))

    def enter(self, connection: WebSocketConnection, query: str) -> None:
        """A WebSocket that :meth:`refuse` had nothing against is open."""
        sid = None if query == _USUAL else longpoll.first(parse_qs(query), "sid")
        if sid is None:
            self._open(connection, query)
        else:
            at = asyncio.get_running_loop().time() + UPGRADE_DEADLINE
            Probe(self.sessions[sid], connection, self.wheel, at)

    # Long-polling (see engine.longpoll).

    async def handle_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A polling request, as an ASGI application."""
        response = await self._polls.respond(scope, receive)
        await response(scope, receive, send)

    def open_polling(self, query: str) -> Polling:
        """A new session by long-polling, which :meth:`refuse_newcomer` had nothing against."""
        polling = Polling()
        self._open(polling, query)
        return polling

    # Sessions.

    def _open(self, transport: WebSocketConnection | Polling, query: str) -> Session:
        sid = self.generate_id()
        opened = self.sessions[sid] = Session(sid, self, transport, asyncio.get_running_loop().time())
        opened.environ["QUERY_STRING"] = query
        opened.send_packet(opened.open_packet())
        self._run(self._handlers["connect"](sid, opened.environ))
        return opened

    def take_at_once(self, found: Session, data: str | bytes) -> bool:
        """Handle a message that needs no waiting and so no task; False for any other."""
        try:
            return self.at_once(found.sid, data)
        except BadMessage as error:
            found.bad(str(error))
        except Exception:
            log.exception("a handler failed")
            found.close(session.TRANSPORT_ERROR)
        return True

    async def take(self, found: Session, data: str | bytes) -> None:
        try:
            handled = self._handlers["message"](found.sid, data)
            if asyncio.iscoroutine(handled):
                await handled
        except BadMessage as error:
            found.bad(str(error))

    def upgraded(self, found: Session) -> None:
        if self.on_upgrade is not None:
            self.on_upgrade(found)

    def ended(self, found: Session, reason: str) -> None:
        counted = "bad-packet" if found.broken else _COUNTED.get(reason)
        if counted is not None:
            self.on_turned_away(counted)
        # Known until the handler has been told: it looks its session up.
        self._run(self._handlers["disconnect"](found.sid, reason))
        self.sessions.pop(found.sid, None)

    def _run(self, handled: Any) -> None:
        """Run a handler at once: what it sends stands where it was said."""
        if not asyncio.iscoroutine(handled):
            return
        try:
            finish(handled)
        except Exception:
            log.exception("a handler failed")

    # What python-socketio calls.

    def on(self, event: str, handler: Handler) -> None:
        """``connect(sid, environ)``, ``message(sid, data)``, ``disconnect(sid, reason)``."""
        self._handlers[event] = handler

    async def send(self, sid: str, data: str | bytes) -> None:
        """Send a message; to a session that is gone, nothing."""
        found = self.sessions.get(sid)
        if found is not None:
            found.send(data)

    async def send_packet(self, sid: str, packet: Any) -> None:
        """Send a packet of python-engineio's class."""
        found = self.sessions.get(sid)
        if found is not None:
            if packet.binary:
                found.send(packet.data)
            else:
                found.send_packet(packet.encode())

    async def get_session(self, sid: str) -> dict[str, Any]:
        """The user's values of a session.

        Raises:
            KeyError: there is no such session.
        """
        found = self.sessions[sid]
        if found.values is None:
            found.values = {}
        return found.values

    async def disconnect(self, sid: str | None = None) -> None:
        """End one session, or all."""
        for each in list(self.sessions) if sid is None else [sid]:
            found = self.sessions.get(each)
            if found is not None:
                found.close(session.SERVER_DISCONNECT)

    def transport(self, sid: str) -> str:
        """``polling`` or ``websocket``."""
        return self.sessions[sid].transport

    def generate_id(self) -> str:
        """A session's id: 120 bits by chance, which nobody guesses."""
        return secrets.token_urlsafe(15)

    async def shutdown(self) -> None:
        """End what is left."""
        self.stopping = True
        for each in list(self.sessions.values()):
            each.close("stopping")

    def start_background_task(
        self, target: Callable[..., Coroutine[Any, Any, Any]], *args: Any, **kwargs: Any
    ) -> asyncio.Task[Any]:
        task = asyncio.create_task(target(*args, **kwargs))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def create_event(self) -> asyncio.Event:
        return asyncio.Event()

    async def sleep(self, seconds: float = 0) -> None:
        await asyncio.sleep(seconds)

    def attach(self, app: Any, engineio_path: str = "engine.io") -> None:
        raise NotImplementedError("the WebSocket door is engine.front; long-polling is handle_request")


def finish(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Run to its end what does not wait, though it is written as a coroutine.

    Raises:
        RuntimeError: it waits for something, which nothing here would resume.
    """
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise RuntimeError("a connect or disconnect handler must not wait; start a task")


def _nothing(*_: Any) -> None:
    """Until a handler is registered."""


class BadMessage(Exception):
    """Raised by a message handler: what came is no packet of its protocol, and the session ends."""


__all__ = ["BadMessage", "EngineServer", "finish"]
