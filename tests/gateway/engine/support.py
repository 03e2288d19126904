"""The servers of the protocol suites as children, and the sessions a test opens with them."""

import asyncio
import contextlib
import functools
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest

from tests.gateway.engine.raw import Wire
from tests.support.processes import ChildProcess, clean_environment
from tests.support.waiting import free_port, wait_until

Kind = Literal["stock", "ours"]
ENGINE, SOCKET = "/engine.io/", "/socket.io/"


class ConformanceServer(ChildProcess):
    """``conformance_server.py`` in a child; ``options`` are those of its command line."""

    def __init__(self, kind: Kind, **options: float | str) -> None:
        self.kind = kind
        self.port, self.watch_port = free_port(), free_port()
        given = {"port": self.port, "watch_port": self.watch_port, **options}
        words = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        command = [sys.executable, "-m", "tests.gateway.engine.conformance_server", kind, *words]
        super().__init__(command, env=clean_environment())

    def close(self) -> None:
        """At once: a stock server with a client that reads nothing never stops when asked."""
        if self.exit_code is None:
            self.kill()
        super().close()

    async def up(self) -> None:
        """Wait until it serves; fail at once if it ends instead."""

        async def answers() -> bool:
            self._fail_if_ended("serving")
            with contextlib.suppress(OSError):
                async with Wire.to(self.port):
                    return bool(await self.ask(look=True))
            return False

        await wait_until(answers, 10, f"the {self.kind} server")

    async def ask(self, **question: Any) -> dict[str, int]:
        """Look inside; see ``conformance_server.watch`` for what may be asked."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.watch_port)
        try:
            writer.write(json.dumps(question).encode() + b"\n")
            found: dict[str, int] = json.loads(await asyncio.wait_for(reader.readline(), 10))
        finally:
            writer.close()
        return found

    async def sessions(self) -> int:
        return (await self.ask(look=True))["sessions"]

    @property
    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    @property
    def memory(self) -> int:
        """Resident bytes."""
        pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        return int(pages) * 4096


def http(url: str) -> httpx.AsyncClient:
    # Certificates are not read, for none are used: reading them takes longer than most tests.
    return httpx.AsyncClient(base_url=url, trust_env=False, verify=False, timeout=3)


class Polling:
    """An Engine.IO session by HTTP long-polling. Nothing is answered by itself: a test says every request."""

    def __init__(self, client: httpx.AsyncClient, path: str, port: int) -> None:
        self.port = port
        self.client = client
        self.path = path
        self.handshake: dict[str, Any] = {}

    @classmethod
    @contextlib.asynccontextmanager
    async def to(cls, port: int, path: str = ENGINE) -> AsyncIterator["Polling"]:
        async with http(f"http://127.0.0.1:{port}") as client:
            session = cls(client, path, port)
            answer = await client.get(path, params={"EIO": "4", "transport": "polling"})
            assert answer.status_code == 200, answer.text
            assert answer.text[0] == "0"
            session.handshake = json.loads(answer.text[1:])
            yield session

    @property
    def sid(self) -> str:
        return str(self.handshake["sid"])

    @property
    def upgrade_path(self) -> str:
        return f"{self.path}?EIO=4&transport=websocket&sid={self.sid}"

    @property
    def query(self) -> dict[str, str]:
        return {"EIO": "4", "transport": "polling", "sid": self.sid}

    async def get(self) -> httpx.Response:
        return await self.client.get(self.path, params=self.query)

    async def post(self, body: str | bytes, **headers: str) -> httpx.Response:
        return await self.client.post(self.path, params=self.query, content=body, headers=headers)


@contextlib.asynccontextmanager
async def websocket(port: int, path: str = ENGINE, *, connect: bool = False) -> AsyncIterator[Wire]:
    """A session by WebSocket, its handshake read; with ``connect``, in the main namespace, all its greetings read."""
    async with Wire.to(port) as wire:
        answer = await wire.upgrade(f"{path}?EIO=4&transport=websocket")
        assert answer is not None
        assert answer.status == 101, answer
        assert str(await wire.packet())[0] == "0"
        if connect:
            await wire.send_packets("40")
            assert str(await wire.packet())[:2] == "40"
            assert str(await wire.packet())[:3] == "42["
        yield wire


@contextlib.asynccontextmanager
async def upgraded(polling: Polling) -> AsyncIterator[Wire]:
    """The session's WebSocket, once the server has taken the upgrade."""
    async with Wire.to(polling.port) as wire:
        answer = await wire.upgrade(polling.upgrade_path)
        assert answer is not None
        assert answer.status == 101, answer
        await wire.send_packets("2probe")
        assert await wire.packet() == "3probe"
        await wire.send_packets("5")
        yield wire


async def status_of(request: Awaitable[httpx.Response]) -> int | None:
    """The status of a request; None where the server hung up instead."""
    try:
        return (await request).status_code
    except (httpx.RemoteProtocolError, httpx.ReadError):
        return None


Test = Callable[..., Awaitable[None]]


def fails_on_stock(defect: str, *, steadily: bool = True) -> Callable[[Test], Test]:
    """On ours the test must pass; on the stock stack it must not, for that is what the defect says.

    A defect that is not steady shows itself now and then, so there nothing is asserted of the stock stack.
    """

    def decorate(test: Test) -> Test:
        @functools.wraps(test)
        async def run(**fixtures: Any) -> None:
            if fixtures["server"].kind != "stock":
                await test(**fixtures)
                return
            try:
                await test(**fixtures)
            except (AssertionError, TimeoutError, httpx.TransportError) as error:
                print(f"stock: {defect}: {type(error).__name__}")
                return
            if steadily:
                pytest.fail(f"the stock stack has lost this defect, so nothing here is needed for it: {defect}")

        return run

    return decorate
