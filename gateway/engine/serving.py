"""uvicorn, run our way: our connections, a listening socket that is told how much may wait, an end in two steps."""

import asyncio
import contextlib
import resource
import signal
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from types import FrameType
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp

from jobcast.gateway.engine.front import Front
from jobcast.gateway.engine.house import House
from jobcast.shared import logs
from jobcast.shared.errors import BadSettings

UNREAD: Final = 32 * 1024
"""Bytes the kernel takes from a client before we read them (Linux doubles it)."""
UNSENT: Final = 128 * 1024
"""Bytes the kernel may hold unsent for a connection: more would only be older news for a slow client."""
LAST_REQUESTS: Final = 0.5
"""Seconds a request under way has at least, once everybody else is gone."""

log = logs.get("server")


class Server(uvicorn.Server):
    """The first signal lets everybody go in order (``drain``), a second one ends it at once."""

    def __init__(self, config: uvicorn.Config, drain: Callable[[], Awaitable[None]], seconds: float) -> None:
        super().__init__(config)
        self._drain = drain
        self._seconds = seconds
        self._draining: asyncio.Task[None] | None = None
        self.failed = False
        """The application ended by an error of its own."""

    def handle_exit(self, sig: int, _frame: FrameType | None) -> None:
        # Uvicorn's own raises the signal again once all is closed; a clean stop is no death by signal.
        if self._draining is not None:
            self.force_exit = sig == signal.SIGINT
            self.should_exit = True
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            # Before the loop runs there is nobody to let go.
            self.should_exit = True
            return
        self._draining = loop.create_task(self._let_go(), name="drain")

    async def on_tick(self, counter: int) -> bool:
        # Uvicorn goes on when a task of the application fails: whoever comes is refused, and nobody starts it anew.
        if self._broken and not self.should_exit:
            log.critical("a task of the gateway failed; it ends")
            self._exit_within(LAST_REQUESTS)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        self.failed = self._broken

    @property
    def _broken(self) -> bool:
        # Without a lifespan there is no task that could fail.
        return getattr(self.lifespan, "error_occurred", False)

    async def _let_go(self) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._seconds
        try:
            await self._drain()
        finally:
            self._exit_within(max(LAST_REQUESTS, end - loop.time()))

    def _exit_within(self, seconds: float) -> None:
        self.config.timeout_graceful_shutdown = seconds  # type: ignore[assignment]  # it is only waited for
        self.should_exit = True


def server(app: ASGIApp, house: House, drain: Callable[[], Awaitable[None]], seconds: float) -> Server:
    """A server of ``app`` and the house's WebSocket doors, draining for at most ``seconds``."""
    options: dict[str, Any] = {
        "http": partial(Front, house),
        "ws": "none",
        "h11_max_incomplete_event_size": house.limits.header_size,
        "access_log": False,
        "log_config": None,
        "proxy_headers": False,
        "server_header": False,
        "lifespan": "on",
    }
    return Server(uvicorn.Config(app, **options), drain, seconds)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        BadSettings: the port is taken, or the address is not this machine's; the sentence says which.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Inherited too. What one connection sends ahead is read and parsed in one go: a quarter megabyte of pings from
        # each of twenty clients would hold up everybody for as long as that takes.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UNREAD)
        with contextlib.suppress(AttributeError, OSError):
            # Inherited by every connection; only Linux and macOS know it.
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
        listening.bind((host, port))
        listening.listen(2048)
    except OSError as error:
        listening.close()
        raise BadSettings(
            f"cannot listen on {host} port {port}: {error.strerror}; choose another with --port"
        ) from error
    listening.setblocking(False)
    return listening


def raise_descriptor_limit() -> None:
    """Take all the descriptors we may have: the usual soft limit of 1,024 would turn clients away."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
