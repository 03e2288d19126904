"""The only wiring: settings in, an ASGI application out; everything that must be closed lives in its lifespan."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from jobcast.gateway.again import retry_after
from jobcast.gateway.calls import Calls
from jobcast.gateway.dead_letter_routes import DeadLetterRoutes
from jobcast.gateway.doors import Clients
from jobcast.gateway.engine import serving
from jobcast.gateway.engine.house import Door, House
from jobcast.gateway.engine.limits import Limits
from jobcast.gateway.engine.serving import Server, listen
from jobcast.gateway.feed import Feed
from jobcast.gateway.flow_routes import FlowRoutes
from jobcast.gateway.guard import LOOPBACK, Guard, GuardedApp
from jobcast.gateway.hub import Hub
from jobcast.gateway.metrics import Metrics
from jobcast.gateway.operation_routes import OperationRoutes
from jobcast.gateway.page import DASHBOARD, Assets, front_page
from jobcast.gateway.positions import PositionCheck
from jobcast.gateway.routes import JsonResponse, Routes
from jobcast.gateway.schedule_routes import ScheduleRoutes
from jobcast.gateway.sockets import PATHS, Sockets
from jobcast.gateway.streams import PlainWebSockets, Streams, come_again, wants_events
from jobcast.shared import logs
from jobcast.shared.circuit import Circuits
from jobcast.shared.collector import spare_the_collector
from jobcast.shared.dead_letters import DeadLetters
from jobcast.shared.errors import JobcastError
from jobcast.shared.flows import JobFlows
from jobcast.shared.health import Health, Thresholds
from jobcast.shared.heartbeats import Heartbeats
from jobcast.shared.journal import Life, RedisJournal
from jobcast.shared.keys import Keys
from jobcast.shared.operations import Operations
from jobcast.shared.queue import JobQueues
from jobcast.shared.redis import connect, connect_for_bullmq, without_secrets
from jobcast.shared.schedules import Schedules
from jobcast.shared.settings import Settings
from jobcast.shared.vigil import Vigil
from jobcast.shared.watchman import Watchman

STATUS: Final = {
    "bad-request": 400,
    "bad-job-id": 400,
    "bad-queue-name": 400,
    "unknown-job": 404,
    "payload-too-large": 413,
    "rate-limited": 429,
    "too-many-subscriptions": 429,
    "unavailable": 503,
}
log = logs.get("gateway")


class Gateway:
    """An ASGI application, and ``house``, which its server's connections come into."""

    def __init__(self, settings: Settings) -> None:
        keys = Keys(settings.key_prefix)
        self._settings = settings
        self._commands = connect(settings.redis_url, name="jobcast-gateway")
        self._bullmq = connect_for_bullmq(settings.redis_url, name="jobcast-gateway-queues", blocking=False)
        journal = RedisJournal(self._commands, keys, Life(settings.history, int(settings.life * 1000)))
        self.metrics = metrics = Metrics()
        hub = Hub(journal, keys, metrics)
        queues = JobQueues(self._bullmq, journal, prefix=settings.bullmq_prefix, keys=keys)
        self.clients = Clients(
            hub,
            most=settings.max_connections,
            most_subscriptions=settings.max_subscriptions,
            calls=settings.max_calls,
            admissions=settings.max_admissions,
        )
        self.feed = hub.feed = Feed(
            self._commands, deliver=hub.deliver, lost=self.clients.lost, found=self.clients.found
        )
        self._positions = PositionCheck(journal, hub, self.feed)
        self._vigil = vigil = Vigil(Heartbeats(self._commands, keys), journal)
        metrics.stalled.set_function(lambda: vigil.last.stalled if vigil.last is not None else 0)
        # To log what others would have posted is not to deliver it: only where the receiver is known.
        self._watchman = Watchman(settings, queues, self._commands, journal, may=self._is_alone)
        self._over = asyncio.Event()
        circuits = hub.circuits = Circuits(self._commands, keys)
        calls, limits = Calls(queues, circuits), limits_of(settings)
        self._sockets = Sockets(self.clients, calls, limits)
        health = Health(queues, keys, Thresholds.of(settings))
        self._routes = Routes(journal, queues, health, metrics, self.feed, circuits)
        self._operations = OperationRoutes(Operations(queues, journal), health, journal)
        self._dead_letters = DeadLetterRoutes(DeadLetters(queues, journal))
        self._schedules = ScheduleRoutes(Schedules(queues, keys))
        self._flow_routes = FlowRoutes(JobFlows(queues, journal))
        guard = _guard(settings)
        doors: dict[str, Door] = {
            **dict.fromkeys(PATHS, self._sockets.engine),
            "/ws": PlainWebSockets(self.clients, calls),
        }
        self.house = House(limits, guard, metrics, doors)
        self._app = self._build(settings, Streams(self.clients, settings.heartbeat), guard)

    def _build(self, settings: Settings, streams: Streams, guard: Guard) -> ASGIApp:
        metrics, origins = self.metrics, _words(settings.origins)

        async def refuse(request: Request, error: Exception) -> Response:
            assert isinstance(error, JobcastError)
            metrics.refused.labels(error.code).inc()
            if error.retryable and wants_events(request):
                return come_again(error)
            headers = {"Retry-After": retry_after()} if error.retryable else None
            return JsonResponse(error.to_dict(), STATUS.get(error.code, 500), headers)

        return Starlette(
            routes=[
                Route("/api/v1/jobs/{job_id}/events", streams.job_events, methods=["GET"]),
                Route("/api/v1/queues/{queue}/events", streams.queue_events, methods=["GET"]),
                *self._operations.table(),
                *self._schedules.table(),
                *self._routes.table(),
                *self._dead_letters.table(),
                *self._flow_routes.table(),
                Route("/", front_page, methods=["GET"]),
                Mount("/dashboard", Assets(directory=DASHBOARD)),
            ],
            exception_handlers={
                JobcastError: refuse,
                HTTPException: _http_error,
                ClientDisconnect: _hung_up,
                Exception: _broken,
            },
            middleware=[
                Middleware(GuardedApp, guard=guard),
                Middleware(CORSMiddleware, allow_origins=origins, allow_methods=["*"], allow_headers=["*"]),
                Middleware(_SocketIo, sockets=self._sockets),
            ],
            lifespan=self._lifespan,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    async def drain(self) -> None:
        """Not ready first, then let the clients go one by one; each may resume on another gateway by position."""
        self._stopping()
        # The last fifth is for whoever is slow to leave.
        await self.clients.drain(self._settings.drain * 0.8)

    def stop(self) -> None:
        """Let everybody go now."""
        self._stopping()
        self.clients.stop()

    def _is_alone(self) -> bool:
        return bool(self._settings.alert_url) and self._vigil.last is not None and not self._vigil.last.beats

    def _stopping(self) -> None:
        self._routes.stopping = True
        self._sockets.engine.stopping = True

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        self.house.start()
        self._sockets.engine.use(self.house.wheel)
        self._sockets.engine.on_turned_away = self.house.turned_away
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.feed.run(), name="feed")
                group.create_task(self._positions.run(), name="positions")
                group.create_task(self._vigil.run(), name="vigil")
                group.create_task(self._watchman.run(self._over), name="watchman")
                try:
                    yield
                finally:
                    self.stop()
                    await self._sockets.shutdown()
                    self._over.set()
                    self._vigil.stop()
                    self._positions.stop()
                    self.feed.stop()
        finally:
            # Only now that no task is left to call them.
            await self._commands.aclose()
            await self._bullmq.aclose()


def limits_of(settings: Settings) -> Limits:
    """What a client may cost, as the environment says."""
    return Limits(
        connections=settings.max_connections,
        header_size=settings.max_header,
        message_size=settings.max_message,
        fragments=settings.max_fragments,
        attachments=settings.max_attachments,
        header=settings.header_deadline,
        connect=settings.connect_deadline,
        body=settings.body_deadline,
        write=settings.write_deadline,
        ping_interval=settings.ping_interval,
        ping_timeout=settings.ping_timeout,
    )


def _guard(settings: Settings) -> Guard:
    # On a loopback address any other name was rebound to it; elsewhere only the operator knows its names. The
    # loopback names are always among them: health checks use them, and nobody can rebind an address.
    named = _words(settings.hosts)
    hosts = {*named, *LOOPBACK} if named or settings.host in LOOPBACK else ()
    return Guard(origins=_words(settings.origins), hosts=hosts)


class _SocketIo:
    """Sends the Socket.IO paths to their server and everything else on: a route would mind their missing slash."""

    def __init__(self, app: ASGIApp, sockets: Sockets) -> None:
        self._app = app
        self._sockets = sockets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_ours = scope["type"] == "http" and scope["path"].rstrip("/") in PATHS
        await (self._sockets if is_ours else self._app)(scope, receive, send)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


async def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = "payload-too-large" if error.status_code == 413 else "bad-request"
    return JsonResponse({"code": code, "message": error.detail, "retryable": False}, error.status_code, error.headers)


async def _hung_up(_request: Request, _error: Exception) -> Response:
    # Within the body of its request, by itself or by the deadline: nobody hears this, and it is no fault of ours.
    return Response(status_code=400)


async def _broken(_request: Request, _error: Exception) -> Response:
    message = "the gateway made a mistake; its log says more"
    return JsonResponse({"code": "unavailable", "message": message, "retryable": True}, 500)


def build(settings: Settings) -> Gateway:
    """The gateway; :func:`serve` runs it. As an ASGI application alone it has no WebSockets: they are our server's."""
    return Gateway(settings)


def server(gateway: Gateway, settings: Settings) -> Server:
    """The server of a gateway, for a loop of your own: ``await server(...).serve([listen(host, port)])``."""
    return serving.server(gateway, gateway.house, gateway.drain, settings.drain)


def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT; returns when every connection is closed, a second after the drain time at latest.

    Raises:
        SystemExit: with 1, a task of the gateway failed; the log says which and how.
    """
    listening = listen(settings.host, settings.port)
    address = listening.getsockname()
    serving.raise_descriptor_limit()
    gateway = build(settings)
    spare_the_collector()
    log.info("listening", url=f"http://{address[0]}:{address[1]}", redis=without_secrets(settings.redis_url))
    running = server(gateway, settings)
    with listening:
        running.run(sockets=[listening])
    if running.failed:
        sys.exit(1)


__all__ = ["Gateway", "build", "listen", "serve", "server"]
