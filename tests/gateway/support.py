"""A gateway to test: in this process, to look into it, or in a child, to stop it and to read what it logs."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx
from redis.asyncio import Redis

from jobcast.gateway.allowance import Allowance
from jobcast.gateway.app import Gateway, build, listen, server
from jobcast.gateway.client import Client
from jobcast.gateway.dialects import Wired
from jobcast.gateway.feed import Feed
from jobcast.gateway.hub import Hub
from jobcast.gateway.metrics import Metrics
from jobcast.gateway.outlet import PullOutlet
from jobcast.gateway.positions import PositionCheck
from jobcast.shared.journal import RedisJournal
from jobcast.shared.keys import Keys
from jobcast.shared.redis import connect
from jobcast.shared.settings import Settings
from tests.support.processes import ChildProcess, clean_environment
from tests.support.waiting import free_port, wait_until

_SERVE: Final = """
import os
from jobcast.gateway.app import serve
from jobcast.shared import logs, settings
found = settings.load(os.environ)
logs.configure(found.log_level, "json")
serve(found)
"""


class GatewayProcess(ChildProcess):
    """A gateway alone in a child, with only the settings the test gives it; its log is JSON on standard error.

    ``before`` is a command that runs another one, under limits for example. ``port`` is for a gateway that is started
    again; without it a free one is found.
    """

    def __init__(
        self, redis_url: str, env: Mapping[str, str] | None = None, before: Sequence[str] = (), port: int = 0
    ) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        given = {"JOBCAST_REDIS_URL": redis_url, "JOBCAST_PORT": str(self.port), **(env or {})}
        self._read_of_log = 0
        super().__init__([*before, sys.executable, "-c", _SERVE], env={**clean_environment(), **given})

    def check_log(self) -> None:
        """Fail if anything was logged as a traceback or an error since the last look."""
        fresh, self._read_of_log = self.stderr[self._read_of_log :], len(self.stderr)
        lines = fresh.splitlines()
        wrong = [at for at, line in enumerate(lines) if "Traceback" in line or '"level": "error"' in line]
        # With what came before and after the first: of a long log the end alone may not hold it.
        assert not wrong, "\n".join(lines[max(0, wrong[0] - 5) : wrong[0] + 60])


@dataclass(frozen=True)
class Served:
    """A gateway served from this process, and a journal to append to."""

    url: str
    gateway: Gateway
    journal: RedisJournal


def port_of(house: Served) -> int:
    return int(house.url.rpartition(":")[2])


@contextlib.asynccontextmanager
async def served(redis_url: str, **given: Any) -> AsyncIterator[Served]:
    """A gateway on a free port, with these settings; ready when this is entered."""
    port = free_port()
    settings = Settings(redis_url=redis_url, port=port, **given)
    gateway = build(settings)
    running_server = server(gateway, settings)
    # Signals are the test runner's; nothing of uvicorn's may take them.
    running_server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    writer = connect(redis_url, name="test-writer")
    with listen("127.0.0.1", port) as listening:
        running = asyncio.create_task(running_server.serve(sockets=[listening]))
        try:
            await wait_until(lambda: gateway.feed.status == "alive", 5, "the feed")
            yield Served(f"http://127.0.0.1:{port}", gateway, RedisJournal(writer))
        finally:
            gateway.stop()
            running_server.should_exit = True
            await running
            await writer.aclose()


class Plain(Wired):
    """A dialect for tests: the message as it came, a line each."""

    def event(self, wire: bytes) -> bytes:
        return wire + b"\n"


class PulledClient(Client):
    """A client without a door: a test takes what it is owed."""

    def __init__(self, hub: Hub, most: int) -> None:
        self.pulled = PullOutlet(lambda: self.close("slow"))
        super().__init__(
            "test",
            hub,
            self.pulled,
            Plain(),
            most=most,
            allowance=Allowance(1e6, 0),
            on_close=lambda *_: self.pulled.end(),
        )

    async def next_messages(self) -> list[bytes]:
        """Waits for the next messages, ``[name, payload]`` each; empty when the client is closed."""
        if not await self.pulled.ready():
            return []
        return b"".join(self.pulled.take()).splitlines()


@dataclass(frozen=True)
class Core:
    """Feed, hub and metrics without a door."""

    redis: Redis
    journal: RedisJournal
    hub: Hub
    feed: Feed
    metrics: Metrics
    keys: Keys

    def client(self, most: int = 1000) -> "PulledClient":
        return PulledClient(self.hub, most)

    def count(self, name: str) -> float:
        """A metric's value, its labels left out."""
        return self.metrics.registry.get_sample_value(name) or 0.0


@contextlib.asynccontextmanager
async def core(redis_url: str, *, linger: float = 0.1, running: bool = True) -> AsyncIterator[Core]:
    """The part behind the doors, on a real Redis."""
    redis = connect(redis_url, name="test-core")
    keys, metrics = Keys(), Metrics()
    journal = RedisJournal(redis, keys)
    hub = Hub(journal, keys, metrics, linger)
    feed = hub.feed = Feed(redis, deliver=hub.deliver, lost=lambda: None, found=hub.suspect)
    check = PositionCheck(journal, hub, feed)
    tasks = [asyncio.create_task(each()) for each in (feed.run, check.run)] if running else []
    try:
        if running:
            await wait_until(lambda: feed.status == "alive", 5, "the feed")
        yield Core(redis, journal, hub, feed, metrics, keys)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await redis.aclose()
        # The feed's connection is closed by the loop, a turn later.
        await asyncio.sleep(0.01)


def http(url: str, **options: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, trust_env=False, timeout=10, **options)


async def is_ready(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        async with http(url) as client:
            return (await client.get("/readyz")).status_code == httpx.codes.OK
    return False


async def until_ready(gateway: GatewayProcess, timeout: float = 15.0) -> None:
    async def ready() -> bool:
        assert gateway.exit_code is None, gateway.report
        return await is_ready(gateway.url)

    await wait_until(ready, timeout, "a ready gateway")


async def send_raw(port: int, data: bytes, timeout: float = 5.0) -> bytes:
    """What the gateway answers to these bytes, up to its end of the connection or a pause of half a second."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    try:
        writer.write(data)
        with contextlib.suppress(TimeoutError, ConnectionError):
            await writer.drain()
            async with asyncio.timeout(timeout):
                while chunk := await asyncio.wait_for(reader.read(65536), 0.5):
                    answer += chunk
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return answer


async def status_of(port: int, data: bytes) -> int:
    """The status the gateway answers these bytes with."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        return int((await asyncio.wait_for(reader.readuntil(b"\r\n"), 5)).split()[1])
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def stalled_socket(port: int, request: bytes, *frames: bytes) -> socket.socket:
    """A connection that has asked, reads the head of the answer and no more; its receive buffer is small."""
    loop = asyncio.get_running_loop()
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.setblocking(False)
    await loop.sock_connect(connection, ("127.0.0.1", port))
    await loop.sock_sendall(connection, request)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += await asyncio.wait_for(loop.sock_recv(connection, 1), 5)
    for each in frames:
        await loop.sock_sendall(connection, each)
    return connection


def upgrade(port: int, path: str = "/ws", host: str | None = None, *more: str) -> bytes:
    """The request that opens a WebSocket."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host or f'127.0.0.1:{port}'}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        *more,
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def frame(text: str) -> bytes:
    """A masked text frame, the mask being zero."""
    data = text.encode()
    length = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
    return b"\x81" + length + b"\0\0\0\0" + data
