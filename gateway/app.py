"""The only wiring: settings in, an ASGI application out; everything that must be closed lives in its lifespan."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from types import FrameType
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from jobcast.gateway.calls import Calls
from jobcast.gateway.doors import Clients, Pace
from jobcast.gateway.feed import Feed
from jobcast.gateway.guard import LOOPBACK, Guard
from jobcast.gateway.hub import Hub
from jobcast.gateway.metrics import Metrics
from jobcast.gateway.routes import JsonResponse, Routes
from jobcast.gateway.sockets import LARGEST_PACKET, PATHS, Sockets
from jobcast.gateway.streams import Streams
from jobcast.shared import logs
from jobcast.shared.errors import BadSettings, JobcastError
from jobcast.shared.journal import Life, RedisJournal
from jobcast.shared.keys import Keys
from jobcast.shared.queue import JobQueues
from jobcast.shared.redis import connect, connect_for_bullmq, without_secrets
from jobcast.shared.settings import Settings

STATUS: Final = {
    "bad-request": 400,
    "bad-job-id": 400,
    "bad-queue-name": 400,
    "unknown-job": 404,
    "payload-too-large": 413,
    "too-many-subscriptions": 429,
    "unavailable": 503,
}
DASHBOARD: Final = Path(__file__).parent / "dashboard"
PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
PAGE_HEADERS: Final = {
    "Content-Security-Policy": PAGE_POLICY,
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
log = logs.get("gateway")


class Gateway:
    """An ASGI application. :meth:`stop` may be called before the server closes its connections."""

    def __init__(self, settings: Settings, pace: Pace | None = None) -> None:
        keys = Keys(settings.key_prefix)
        self._commands = connect(settings.redis_url, name="jobcast-gateway")
        self._bullmq = connect_for_bullmq(settings.redis_url, name="jobcast-gateway-queues", blocking=False)
        journal = RedisJournal(self._commands, keys, Life(settings.history, int(settings.life * 1000)))
        metrics = Metrics()
        hub = Hub(journal, keys, metrics)
        self.feed = hub.feed = Feed(self._commands, deliver=hub.deliver, suspect=hub.suspect)
        queues = JobQueues(self._bullmq, journal, prefix=settings.bullmq_prefix)
        self.clients = Clients(
            hub, most=settings.max_connections, most_subscriptions=settings.max_subscriptions, pace=pace
        )
        calls = Calls(queues)
        self._sockets = Sockets(self.clients, calls)
        self._routes = Routes(journal, queues, metrics, self.feed)
        streams = Streams(self.clients, calls)
        self._app = self._build(settings, streams, metrics)

    def _build(self, settings: Settings, streams: Streams, metrics: Metrics) -> ASGIApp:
        origins = _words(settings.origins)
        # On a loopback address any other name was rebound to it; elsewhere only the operator knows its names. The
        # loopback names are always among them: health checks use them, and nobody can rebind an address.
        named = _words(settings.hosts)
        hosts = {*named, *LOOPBACK} if named or settings.host in LOOPBACK else ()

        async def refuse(_request: Request, error: Exception) -> Response:
            assert isinstance(error, JobcastError)
            metrics.refused.labels(error.code).inc()
            headers = {"Retry-After": "1"} if error.retryable else None
            return JsonResponse(error.to_dict(), STATUS.get(error.code, 500), headers)

        return Starlette(
            routes=[
                Route("/api/v1/jobs/{job_id}/events", streams.job_events, methods=["GET"]),
                Route("/api/v1/queues/{queue}/events", streams.queue_events, methods=["GET"]),
                *self._routes.table(),
                WebSocketRoute("/ws", streams.websocket),
                Route("/", _page, methods=["GET"]),
                Mount("/dashboard", _Assets(directory=DASHBOARD)),
            ],
            exception_handlers={JobcastError: refuse, HTTPException: _http_error, Exception: _broken},
            middleware=[
                Middleware(Guard, origins=origins, hosts=hosts),
                Middleware(CORSMiddleware, allow_origins=origins, allow_methods=["*"], allow_headers=["*"]),
                Middleware(_SocketIo, sockets=self._sockets),
            ],
            lifespan=self._lifespan,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    def stop(self) -> None:
        """Not ready first, then let the clients go; each may resume on another gateway by position."""
        self._routes.stopping = True
        self.clients.stop()

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            feed = group.create_task(self.feed.run(), name="feed")
            try:
                yield
            finally:
                self.stop()
                await self._sockets.shutdown()
                feed.cancel()
                await self._commands.aclose()
                await self._bullmq.aclose()


class _SocketIo:
    """Sends the Socket.IO paths to their server and everything else on: a route would mind their missing slash."""

    def __init__(self, app: ASGIApp, sockets: Sockets) -> None:
        self._app = app
        self._sockets = sockets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_ours = scope["type"] in {"http", "websocket"} and scope["path"].rstrip("/") in PATHS
        await (self._sockets if is_ours else self._app)(scope, receive, send)


class _Assets(StaticFiles):
    """The page's files, each under the page's policy: whoever opens one by its own address gets no less."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers.update(PAGE_HEADERS)
        return response


async def _page(_request: Request) -> Response:
    return FileResponse(DASHBOARD / "index.html", headers=PAGE_HEADERS)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


async def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = "payload-too-large" if error.status_code == 413 else "bad-request"
    return JsonResponse({"code": code, "message": error.detail, "retryable": False}, error.status_code, error.headers)


async def _broken(_request: Request, _error: Exception) -> Response:
    message = "the gateway made a mistake; its log says more"
    return JsonResponse({"code": "unavailable", "message": message, "retryable": True}, 500)


def build(settings: Settings, pace: Pace | None = None) -> Gateway:
    """The gateway as an ASGI application, for a server of your own; :func:`serve` runs it on uvicorn."""
    return Gateway(settings, pace)


class _Server(uvicorn.Server):
    """Tells the gateway to let its clients go before uvicorn waits for them."""

    def __init__(self, config: uvicorn.Config, gateway: Gateway) -> None:
        super().__init__(config)
        self._gateway = gateway

    def handle_exit(self, sig: int, _frame: FrameType | None) -> None:
        # Uvicorn's own raises the signal again once all is closed; a clean stop is no death by signal.
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True
        # Before the loop runs there is nobody to let go.
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop().call_soon_threadsafe(self._gateway.stop)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        BadSettings: the port is taken, or the address is not this machine's; the sentence says which.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(2048)
    except OSError as error:
        listening.close()
        raise BadSettings(
            f"cannot listen on {host} port {port}: {error.strerror}; choose another with --port"
        ) from error
    listening.setblocking(False)
    return listening


def serve(settings: Settings, pace: Pace | None = None) -> None:
    """Run until SIGTERM or SIGINT; returns when every connection is closed or the drain time is over."""
    listening = listen(settings.host, settings.port)
    address = listening.getsockname()
    gateway = build(settings, pace)
    options: dict[str, Any] = {
        # h11 refuses a header over 16 KiB while it is read; httptools would take it whole first.
        "http": "h11",
        "ws": "websockets-sansio",
        "ws_max_size": LARGEST_PACKET,
        "ws_per_message_deflate": False,
        "access_log": False,
        "log_config": None,
        "proxy_headers": False,
        "server_header": False,
        "lifespan": "on",
        "timeout_graceful_shutdown": max(1, round(settings.drain)),
    }
    server = _Server(uvicorn.Config(gateway, **options), gateway)
    log.info("listening", url=f"http://{address[0]}:{address[1]}", redis=without_secrets(settings.redis_url))
    with listening:
        server.run(sockets=[listening])


__all__ = ["Gateway", "build", "listen", "serve"]
