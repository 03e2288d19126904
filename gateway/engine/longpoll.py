"""The HTTP side of long-polling: handshake, poll and post, each answered as the Engine.IO protocol says."""

import asyncio
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

import orjson
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope

from jobcast.gateway.again import retry_after
from jobcast.gateway.engine import packets, session
from jobcast.gateway.engine.polling import Polling
from jobcast.gateway.engine.session import Session
from jobcast.shared.errors import PayloadTooLarge

if TYPE_CHECKING:
    from jobcast.gateway.engine.server import EngineServer

ERRORS: Final = {
    0: "Transport unknown",
    1: "Session ID unknown",
    2: "Bad handshake method",
    3: "Bad request",
    4: "Forbidden",
    5: "Unsupported protocol version",
}
"""The codes and words of Engine.IO's reference server, which its clients show."""


class LongPolling:
    """Answers the polling requests of a server's sessions."""

    def __init__(self, server: "EngineServer") -> None:
        self._server = server

    async def respond(self, scope: Scope, receive: Receive) -> Response:
        query = scope["query_string"].decode("latin-1")
        asked, method = parse_qs(query), scope["method"]
        if method not in {"GET", "POST"}:
            return _refusal(2)
        code = bad_handshake(asked, "polling")
        if code is not None:
            return _refusal(code)
        sid = first(asked, "sid")
        if sid is None:
            if method != "GET":
                return _refusal(2)
            return self._handshake(query)
        return await self._of_session(self._server.sessions.get(sid), scope, receive)

    async def _of_session(self, found: Session | None, scope: Scope, receive: Receive) -> Response:
        if found is None:
            return _refusal(1)
        if found.polling is None:
            return _refusal(3)
        if scope["method"] == "GET":
            return await self._get(found, found.polling, receive)
        return await self._post(found, found.polling, scope, receive)

    def _handshake(self, query: str) -> Response:
        refused = self._server.refuse_newcomer()
        if refused is not None:
            status, body = refused
            return Response(body, status, {"Retry-After": retry_after()}, "application/json")
        return _text(self._server.open_polling(query).handshake())

    async def _get(self, found: Session, polling: Polling, receive: Receive) -> Response:
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
                size = self._server.limits.message_size
                refused = PayloadTooLarge(f"expected a body of at most {size} bytes, its Content-Length given")
                return Response(orjson.dumps(refused.to_dict()), 413, media_type="application/json")
            for packet in packets.read_payload(body):
                if isinstance(packet, str):
                    found.text(packet)
                else:
                    found.binary(packet)
            # Still under way while it waits: who posts again meanwhile would fill the memory.
            await found.inbox.room()
        except packets.BadPacket as error:
            found.bad(str(error))
        finally:
            polling.posting = False
        return _refusal(3) if found.broken else _text(b"ok")

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """The body; None as soon as it is known to be too large, or does not say beforehand how large it is."""
        headers, most = Headers(scope=scope), self._server.limits.message_size
        length = headers.get("content-length", "")
        if "transfer-encoding" in headers or not (length.isascii() and length.isdecimal()):
            return None
        if len(length) > 9 or int(length) > most:
            return None
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise packets.BadPacket("the connection ended within a payload")
            body += message.get("body", b"")
            if len(body) > most:
                return None
            if not message.get("more_body", False):
                return bytes(body)


def bad_handshake(asked: dict[str, list[str]], transport: str) -> int | None:
    """The code of what is wrong with a request's parameters; None when nothing is."""
    wanted = first(asked, "transport")
    if wanted != transport:
        return 3 if wanted in {"polling", "websocket"} else 0
    return None if first(asked, "EIO") == "4" else 5


def first(asked: dict[str, list[str]], name: str) -> str | None:
    return asked[name][0] if name in asked else None


def error(code: int) -> bytes:
    """The body that goes with a code."""
    return orjson.dumps({"code": code, "message": ERRORS[code]})


def _refusal(code: int) -> Response:
    return Response(error(code), 400, media_type="application/json")


def _text(body: bytes) -> Response:
    return Response(body, headers={"Cache-Control": "no-store"}, media_type="text/plain; charset=utf-8")


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
