"""What all connections of one server share: limits, the wheel, the doors, and how many descriptors are left."""

import asyncio
import re
import resource
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, Protocol

import orjson

from jobcast.gateway.again import retry_after
from jobcast.gateway.engine.limits import Limits
from jobcast.gateway.engine.stalls import Stalls
from jobcast.gateway.engine.websocket import WebSocketConnection
from jobcast.gateway.engine.wheel import Wheel
from jobcast.gateway.guard import Guard
from jobcast.gateway.metrics import Metrics

RESERVED: Final = 96
"""Descriptors kept for what is no client: the pools to Redis (48 and the feed's), the log, the listener, and spare."""
HEALTH: Final = 16
"""Connections beyond the last client's, so that health is answered also when everything is taken."""
_HEALTH: Final = re.compile(rb"(?:GET|HEAD) /(?:healthz|readyz|metrics)[ ?]")


class Door(Protocol):
    """Where the WebSockets of a path go."""

    def refuse(self, query: str) -> tuple[int, bytes] | None:
        """Why one may not be opened: a status and a JSON body; None when it may."""
        ...

    def enter(self, connection: WebSocketConnection, query: str) -> None:
        """It is open."""
        ...


class House:
    """``doors`` are the WebSocket paths, without their last slash."""

    def __init__(self, limits: Limits, guard: Guard, metrics: Metrics, doors: Mapping[str, Door]) -> None:
        self.limits = limits
        self.guard = guard
        self.doors = doors
        self._metrics = metrics
        self._open = 0
        self._most = limits.connections
        self.loop: asyncio.AbstractEventLoop
        self.wheel: Wheel
        self.stalls: Stalls

    def start(self) -> None:
        """Bind to the running loop, and to the descriptors this process may have."""
        self.loop = asyncio.get_running_loop()
        self.wheel = Wheel(self.loop)
        self.stalls = Stalls(self.loop, self.limits.write)
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        # A client of the API or a scrape holds a connection and is no client of ours: a tenth more for them.
        self._most = min(self.limits.connections + self.limits.connections // 10 + HEALTH, max(1, soft - RESERVED))

    @property
    def crowded(self) -> bool:
        """Only health is still served."""
        return self._open > self._most

    @property
    def overfull(self) -> bool:
        return self._open > self._most + HEALTH

    def count(self, change: int) -> None:
        self._open += change
        self._metrics.connections.inc(change)

    def turned_away(self, reason: str) -> None:
        self._metrics.turned_away.labels(reason).inc()

    def too_slow(self) -> None:
        self._metrics.slow.inc()

    @staticmethod
    def is_health(request: bytes) -> bool:
        """Whether it asks for what an operator needs most when everything is taken."""
        return _HEALTH.match(request) is not None

    @staticmethod
    def says(code: str, message: str) -> bytes:
        """An error as every door says it."""
        return orjson.dumps({"code": code, "message": message, "retryable": code in {"unavailable", "request-timeout"}})

    @staticmethod
    def response(status: int, body: bytes, field: str = "") -> bytes:
        """A whole answer, with one field more if it is to say more, after which the connection is closed."""
        if status == 503:
            field = f"Retry-After: {retry_after()}"
        more = f"{field}\r\n" if field else ""
        return (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n{more}Connection: close\r\n\r\n"
        ).encode() + body
