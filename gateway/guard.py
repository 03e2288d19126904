"""Who may speak to the gateway at all: the Host and Origin of a request, checked once for every door.

A gateway on a loopback address is reachable by any page a developer has open. A page may always send a request (and
open a WebSocket) to it; only the Origin tells whose it is, and only the Host tells a name rebound to 127.0.0.1 from
the real one.
"""

from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import urlsplit

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


class Guard:
    """``hosts`` are the names this gateway answers to, without ports; none for any. ``origins`` may use it from another
    origin; ``*`` allows all.
    """

    def __init__(self, *, origins: Iterable[str], hosts: Iterable[str]) -> None:
        self._origins = frozenset(origin.rstrip("/").lower() for origin in origins)
        self._hosts = frozenset(host.lower() for host in hosts)

    def problem(self, hosts: Sequence[str], origins: Sequence[str]) -> str | None:
        """What is wrong with the Host and Origin headers of a request, as a sentence; None when nothing is."""
        if len(hosts) != 1 or len(origins) > 1:
            return "expected one Host and at most one Origin"
        host = hosts[0].lower()
        if self._hosts and hostname(host) not in self._hosts:
            return "this gateway does not answer to that Host; name it in JOBCAST_HOSTS if it should"
        if not origins or "*" in self._origins:
            return None
        origin = origins[0].lower()
        if origin in self._origins or (host and authority(origin) == host):
            return None
        return "this Origin may not use the gateway; name it in JOBCAST_ORIGINS if it should"


class GuardedApp:
    """ASGI middleware: HTTP requests. WebSockets are looked at before they are opened (see engine.front)."""

    def __init__(self, app: ASGIApp, *, guard: Guard) -> None:
        self._app = app
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (problem := self._problem(scope)) is None:
            await self._app(scope, receive, send)
            return
        body = orjson.dumps({"code": "forbidden", "message": problem, "retryable": False})
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 403, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _problem(self, scope: Scope) -> str | None:
        headers = scope["headers"]
        hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
        return self._guard.problem(hosts, [value.decode("latin-1") for name, value in headers if name == b"origin"])


def authority(origin: str) -> str | None:
    """The host and port of an Origin; None when it is no such thing."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def hostname(host: str) -> str | None:
    """The name in a Host header, its port and brackets left out; None when it is no such thing."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
