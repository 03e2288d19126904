"""The Engine.IO v4 server that python-socketio stands on: sessions, their handshakes, and long-polling over ASGI.

``socketio.AsyncServer`` builds it by ``_engineio_server_class()`` and uses the methods under "What python-socketio calls".
"""

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from typing import Any, Final
from urllib.parse import parse_qs

import orjson
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from jobcast.gateway.engine import packets, session
from jobcast.gateway.engine.limits import Limits
from jobcast.gateway.engine.polling import Polling
from jobcast.gateway.engine.session import Handler, Probe, Session
from jobcast.gateway.engine.websocket import WebSocketConnection
from jobcast.gateway.engine.wheel import Wheel
from jobcast.shared import logs

UPGRADE_DEADLINE: Final = 10.0
ERRORS: Final = {
    0: "Transport unknown",
    1: "Session ID unknown",
    2: "Bad handshake method",
    3: "Bad request",
    4: "Forbidden",
    5: "Unsupported protocol version",
}
"""The codes and words of Engine.IO's reference server, which its clients show."""
log = logs.get("engine")


class EngineServer:
    """One for each gateway. ``stopping`` refuses new sessions; :meth:`shutdown` ends those that are left."""

    def __init__(self, *, limits: Limits | None = None, wheel: Wheel | None = None, **_options: Any) -> None:
        self.limits = limits or Limits()
        self.sessions: dict[str, Session] = {}
        self.async_mode = "asgi"
        self.stopping = False
        self.on_upgrade: Callable[[Session], None] | None = None
        self._wheel = wheel
        self._handlers: dict[str, Handler] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

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
        asked = parse_qs(query)
        code = self._bad_handshake(asked, "websocket")
        if code is None and (sid := _first(asked, "sid")) is not None:
            found = self.sessions.get(sid)
            code = 1 if found is None else 3 if found.polling is None else None
        if code is not None:
            return 400, _error(code)
        if self.stopping:
            return 503, orjson.dumps({"code": "unavailable", "message": "this gateway is stopping; connect again"})
        return None

    def enter(self, connection: WebSocketConnection, query: str) -> None:
        """A WebSocket that :meth:`refuse` had nothing against is open."""
        sid = _first(parse_qs(query), "sid") if "sid=" in query else None
        if sid is None:
            self._open(connection, query)
        else:
            at = asyncio.get_running_loop().time() + UPGRADE_DEADLINE
            Probe(self.sessions[sid], connection, self.wheel, at)

    # Long-polling.

    async def handle_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A polling request, as an ASGI application."""
        response = await self._respond(scope, receive)
        await response(scope, receive, send)

    async def _respond(self, scope: Scope, receive: Receive) -> Response:
        query = scope["query_string"].decode("latin-1")
        asked, method = parse_qs(query), scope["method"]
        if method not in {"GET", "POST"}:
            return _refusal(2)
        code = self._bad_handshake(asked, "polling")
        if code is not None:
            return _refusal(code)
        sid = _first(asked, "sid")
        if sid is None:
            if method != "GET":
                return _refusal(2)
            return self._handshake(query)
        found = self.sessions.get(sid)
        if found is None:
            return _refusal(1)
        if found.polling is None:
            return _refusal(3)
        return await (self._get if method == "GET" else self._post)(found, found.polling, scope, receive)

    def _handshake(self, query: str) -> Response:
        if self.stopping:
            body = orjson.dumps({"code": "unavailable", "message": "this gateway is stopping; connect again"})
            return Response(body, 503, {"Retry-After": "1"}, "application/json")
        opened = self._open(Polling(lambda: None), query)
        return _text(b"".join(opened.polling.outlet.take())[:-1] if opened.polling else b"")

    async def _get(self, found: Session, polling: Polling, _scope: Scope, receive: Receive) -> Response:
        if polling.polled:
            found.bad("two polls of one session at the same time")
            return _refusal(3)
        poll = asyncio.create_task(polling.poll())
        gone = asyncio.create_task(_until_gone(receive))
        try:
            await asyncio.wait({poll, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not poll.done():
                # What the poll would have taken cannot be told from what was lost with it.
                found.close(session.TRANSPORT_CLOSE)
            answer = await poll
        finally:
            gone.cancel()
            poll.cancel()
        return _text(packets.CLOSE.encode() if answer is None else answer)

    async def _post(self, found: Session, polling: Polling, scope: Scope, receive: Receive) -> Response:
        if polling.posting:
            found.bad("two posts of one session at the same time")
            return _refusal(3)
        polling.posting = True
        try:
            body = await self._body(scope, receive)
            if body is None:
                found.bad("a payload over the limit")
                size = self.limits.message_size
                says = f"expected a body of at most {size} bytes"
                answer = orjson.dumps({"code": "payload-too-large", "message": says, "retryable": False})
                return Response(answer, 413, media_type="application/json")
            for packet in packets.read_payload(body):
                if isinstance(packet, str):
                    found.text(packet)
                else:
                    found.binary(packet)
        except packets.BadPacket as error:
            found.bad(str(error))
        finally:
            polling.posting = False
        if found.broken:
            return _refusal(3)
        await found.inbox.room()
        return _text(b"ok")

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """The body, or None as soon as it is known to be too large."""
        length = Headers(scope=scope).get("content-length", "0")
        if not (length.isascii() and length.isdecimal()) or len(length) > 9 or int(length) > self.limits.message_size:
            return None
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise packets.BadPacket("the connection ended within a payload")
            body += message.get("body", b"")
            if len(body) > self.limits.message_size:
                return None
            if not message.get("more_body", False):
                return bytes(body)

    # Sessions.

    def _bad_handshake(self, asked: dict[str, list[str]], transport: str) -> int | None:
        if _first(asked, "transport") != transport:
            return 0
        return None if _first(asked, "EIO") == "4" else 5

    def _open(self, transport: WebSocketConnection | Polling, query: str) -> Session:
        sid = self.generate_id()
        opened = self.sessions[sid] = Session(sid, self, transport, asyncio.get_running_loop().time())
        opened.environ["QUERY_STRING"] = query
        opened.send_packet(opened.open_packet())
        self._run(self._handlers["connect"](sid, opened.environ))
        return opened

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
        # Known until the handler has been told: it looks its session up.
        self._run(self._handlers["disconnect"](found.sid, reason))
        self.sessions.pop(found.sid, None)

    def _run(self, handled: Any) -> None:
        """Run a handler to its first wait at once: what it sends stands where it was said. The rest is a task."""
        if not asyncio.iscoroutine(handled):
            return
        try:
            handled.send(None)
        except StopIteration:
            return
        except Exception:
            log.exception("a handler failed")
            return
        handled.close()
        raise RuntimeError("a connect or disconnect handler must not wait; start a task")

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


class BadMessage(Exception):
    """Raised by a message handler: what came is no packet of its protocol, and the session ends."""


def _first(asked: dict[str, list[str]], name: str) -> str | None:
    return asked[name][0] if name in asked else None


def _error(code: int) -> bytes:
    return orjson.dumps({"code": code, "message": ERRORS[code]})


def _refusal(code: int) -> Response:
    return Response(_error(code), 400, media_type="application/json")


def _text(body: bytes) -> Response:
    return Response(body, headers={"Cache-Control": "no-store"}, media_type="text/plain; charset=utf-8")


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


__all__ = ["BadMessage", "EngineServer"]
