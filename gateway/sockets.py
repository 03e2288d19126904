"""The Socket.IO door: python-socketio's namespaces and acknowledgements over our clients.

Events are not emitted through python-socketio: their bytes come encoded from the journal, so they are handed to
Engine.IO as they are, behind the packet type and the namespace.
"""

import asyncio
import contextlib
from typing import Any, Final

import orjson
import socketio
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from jobcast.gateway.calls import Calls
from jobcast.gateway.client import Client
from jobcast.gateway.doors import Clients
from jobcast.shared import logs
from jobcast.shared.errors import PayloadTooLarge, Unavailable

NAMESPACES: Final = ("/", "/job-progress")
PATHS: Final = ("/socket.io", "/socket.io/jobs")
LARGEST_PACKET: Final = 64 * 1024
MOST_QUEUED: Final = 64
"""Packets left in Engine.IO's own queue before we wait: it has no bound of its own, our outbox has."""
MOST_POLLED: Final = 12
"""The same while it polls: python-engineio's clients give up on an answer of more than 16 packets."""
log = logs.get("sockets")


class _Json:
    """orjson in the shape python-socketio wants: text out, and its own errors as ``ValueError``."""

    @staticmethod
    def dumps(value: Any, **_: Any) -> str:
        return orjson.dumps(value).decode()

    @staticmethod
    def loads(text: str | bytes, **_: Any) -> Any:
        return orjson.loads(text)


class Sockets:
    """ASGI application for the Socket.IO paths. Close with ``shutdown``."""

    def __init__(self, clients: Clients, calls: Calls) -> None:
        self._clients = clients
        self._calls = calls
        self._connected: dict[str, tuple[Client, asyncio.Task[None]]] = {}
        # Origins are checked for all doors in one place, before this one; no Redis manager: every gateway follows
        # Redis itself, and a second path would send each event twice.
        self._server = socketio.AsyncServer(
            async_mode="asgi",
            json=_Json,
            namespaces=list(NAMESPACES),
            cors_allowed_origins=[],
            max_http_buffer_size=LARGEST_PACKET,
            http_compression=False,
            logger=False,
            engineio_logger=False,
        )
        for namespace in NAMESPACES:
            self._server.on("connect", self._handler(self._connect, namespace), namespace=namespace)
            self._server.on("disconnect", self._handler(self._disconnect, namespace), namespace=namespace)
            self._server.on("*", self._call, namespace=namespace)

        self._server.eio.on("message", self._packet)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = _refused_body(scope)
        await (refusal or self._server.handle_request)(scope, receive, send)

    async def shutdown(self) -> None:
        await self._server.shutdown()

    @staticmethod
    def _handler(method: Any, namespace: str) -> Any:
        # Any arguments: a client may send an event of this name too, with whatever it likes behind it.
        async def handle(sid: str, *_: Any) -> Any:
            return await method(sid, namespace)

        return handle

    async def _connect(self, sid: str, namespace: str) -> None:
        if sid in self._connected:
            return
        try:
            client = self._clients.open("socket.io")
        except Unavailable as error:
            raise socketio.exceptions.ConnectionRefusedError(error.to_dict()) from error
        client.greet()
        # The pump's first step comes after the CONNECT packet: nothing between here and that packet gives up the loop.
        pump = asyncio.create_task(self._pump(sid, namespace, client), name=f"pump-{client.id}")
        self._connected[sid] = (client, pump)

    async def _disconnect(self, sid: str, namespace: str) -> None:
        if self._server.manager.is_connected(sid, namespace):
            # A client's own event of this name; it means nothing.
            return
        self._release_poll(sid, namespace)
        client, pump = self._connected.pop(sid, (None, None))
        if client is None or pump is None:
            return
        client.close("gone")
        pump.cancel()

    def _release_poll(self, sid: str, namespace: str) -> None:
        """Let a poll end that waits for packets: Engine.IO would hold it, and a shutdown with it, for 45 s."""
        eio_sid = self._server.manager.eio_sid_from_sid(sid, namespace)
        socket = self._server.eio.sockets.get(eio_sid)
        if socket is not None and not socket.upgraded:
            socket.queue.put_nowait(None)

    async def _packet(self, eio_sid: str, data: Any) -> None:
        """A packet that is none ends its own connection: python-socketio would raise and keep a client of no state."""
        try:
            await self._server._handle_eio_message(eio_sid, data)  # noqa: SLF001  the one way in to its decoder
        except Exception as error:  # noqa: BLE001  whatever its decoder makes of bytes that are no packet
            log.info("a client sent what is no packet", reason=f"{type(error).__name__}: {error}"[:200])
            await self._server.eio.disconnect(eio_sid)

    async def _call(self, name: str, sid: str, *arguments: Any) -> Any:
        client, _ = self._connected.get(sid, (None, None))
        if client is None:
            return None
        return await self._calls.answer(client, name, arguments[0] if arguments else None)

    async def _pump(self, sid: str, namespace: str, client: Client) -> None:
        prefix = "2" if namespace == "/" else f"2{namespace},"
        eio_sid = self._server.manager.eio_sid_from_sid(sid, namespace)
        try:
            while messages := await client.next_messages():
                for message in messages:
                    async with asyncio.timeout(self._clients.pace.write_deadline):
                        await self._until_taken(eio_sid)
                    await self._server.eio.send(eio_sid, prefix + message.wire.decode())
        except TimeoutError:
            client.close("slow")
        except KeyError:
            client.close("gone")
        if client.close_reason != "gone":
            with contextlib.suppress(KeyError):
                await self._server.disconnect(sid, namespace=namespace)

    async def _until_taken(self, eio_sid: str) -> None:
        """Wait for the transport: Engine.IO's queue tells nobody when it empties, so it is looked at."""
        socket = self._server.eio._get_socket(eio_sid)  # noqa: SLF001  its queue is the only sign of pressure
        while socket.queue.qsize() >= (MOST_QUEUED if socket.upgraded else MOST_POLLED) and not socket.closed:  # noqa: ASYNC110  the queue wakes nobody
            await asyncio.sleep(0.02)


def _refused_body(scope: Scope) -> Response | None:
    """The answer to a poll's body that is too large, or does not say how large it is; None when it may pass.

    Engine.IO would take in the whole of it first, and then never answer.
    """
    if scope["type"] != "http" or scope["method"] != "POST":
        return None
    length = Headers(scope=scope).get("content-length", "")
    if length.isascii() and length.isdecimal() and len(length) < 10 and int(length) <= LARGEST_PACKET:
        return None
    error = PayloadTooLarge(f"expected a body of at most {LARGEST_PACKET} bytes, its Content-Length given")
    return Response(orjson.dumps(error.to_dict()), 413, media_type="application/json")
