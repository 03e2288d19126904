"""Clients of each door that note what they are told, ``[event, payload]`` in order of arrival."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any, Self

import aiohttp
import httpx
import socketio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from jobcast.shared.states import LAW
from tests.gateway.support import http
from tests.support.heard import applied
from tests.support.waiting import wait_until

Told = tuple[str, dict[str, Any]]


class Listener:
    """What one client was told."""

    def __init__(self) -> None:
        self.told: list[Told] = []
        self.ended = False

    def named(self, name: str) -> list[dict[str, Any]]:
        return [payload for event, payload in self.told if event == name]

    @property
    def seqs(self) -> list[int]:
        """The numbers of all events, as they came."""
        return [payload["seq"] for name, payload in self.told if name in LAW]

    @property
    def applied(self) -> list[int]:
        """The numbers a client applies: its snapshot counts as all before it."""
        return applied(self.told)

    async def until(self, name: str, timeout: float = 5.0) -> dict[str, Any]:
        """The first payload of that event."""
        await wait_until(lambda: self.named(name), timeout, f"{name}; told {[n for n, _ in self.told][-20:]}")
        return self.named(name)[0]

    async def until_seq(self, seq: int, timeout: float = 10.0) -> None:
        await wait_until(lambda: seq in self.seqs, timeout, f"event {seq}; told {self.seqs[-20:]}")

    async def until_ended(self, timeout: float = 5.0) -> None:
        await wait_until(lambda: self.ended, timeout, f"the end; told {[n for n, _ in self.told][-20:]}")


class WebSocketListener(Listener):
    """``/ws`` by the websockets library."""

    def __init__(self, connection: ClientConnection) -> None:
        super().__init__()
        self.connection = connection
        self._ids = itertools.count(1)
        self._reading = asyncio.create_task(self._read())

    @classmethod
    @contextlib.asynccontextmanager
    async def to(cls, url: str) -> AsyncIterator[Self]:
        async with connect(f"ws{url.removeprefix('http')}/ws", proxy=None, compression=None) as connection:
            listener = cls(connection)
            try:
                yield listener
            finally:
                await connection.close()
                await listener._reading

    async def _read(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for text in self.connection:
                name, payload = json.loads(text)
                self.told.append((name, payload))
        self.ended = True

    async def send(self, *call: Any) -> None:
        await self.connection.send(json.dumps(call))

    async def call(self, name: str, payload: Any = None) -> dict[str, Any]:
        """Call with an id, and wait for the acknowledgement."""
        number = next(self._ids)
        await self.send(name, payload, number)

        def answered() -> list[dict[str, Any]]:
            return [answer for answer in self.named("ack") if answer["id"] == number]

        found: list[dict[str, Any]] = await wait_until(answered, 8, f"the answer to {name}")
        return found[0]


class _Tidy(aiohttp.TCPConnector):
    """Knows every connection it gave: python-engineio drops some of its answers unread, which costs a warning."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[Any] = []

    async def connect(self, *arguments: Any, **more: Any) -> Any:
        self.given.append(await super().connect(*arguments, **more))
        return self.given[-1]


@contextlib.asynccontextmanager
async def tidy_session() -> AsyncIterator[aiohttp.ClientSession]:
    """What a Socket.IO client sends through; nothing of it stays open."""
    async with aiohttp.ClientSession(connector=(connector := _Tidy())) as session:
        yield session
        for connection in connector.given:
            connection.close()


class SocketIoListener(Listener):
    """python-socketio's own client."""

    def __init__(self, namespace: str, session: aiohttp.ClientSession) -> None:
        super().__init__()
        self.client = socketio.AsyncClient(reconnection=False, http_session=session)
        self.namespace = namespace
        self.client.on("*", self._note, namespace=namespace)
        self.client.on("disconnect", self._end, namespace=namespace)

    @classmethod
    @contextlib.asynccontextmanager
    async def to(
        cls, url: str, *, namespace: str = "/", path: str = "socket.io", transport: str = "websocket"
    ) -> AsyncIterator[Self]:
        async with tidy_session() as session:
            listener = cls(namespace, session)
            await listener.client.connect(url, socketio_path=path, transports=[transport], namespaces=[namespace])
            try:
                yield listener
            finally:
                await listener.client.disconnect()

    async def _note(self, name: str, *payloads: Any) -> None:
        self.told.append((name, payloads[0] if payloads else {}))

    async def _end(self, *_reason: Any) -> None:
        self.ended = True

    async def send(self, name: str, payload: Any = None) -> None:
        await self.client.emit(name, payload, namespace=self.namespace)

    async def call(self, name: str, payload: Any = None) -> dict[str, Any]:
        answer: dict[str, Any] = await self.client.call(name, payload, namespace=self.namespace, timeout=8)
        return answer


class SseListener(Listener):
    """One SSE stream by httpx: its events, their ids, and the comments between them."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__()
        self.response = response
        self.ids: list[str | None] = []
        self.comments: list[str] = []
        self._reading = asyncio.create_task(self._read())

    @classmethod
    @contextlib.asynccontextmanager
    async def to(cls, url: str, path: str, headers: dict[str, str] | None = None) -> AsyncIterator[Self]:
        async with http(url) as client, client.stream("GET", path, headers=headers, timeout=30) as response:
            listener = cls(response)
            try:
                yield listener
            finally:
                listener._reading.cancel()
                await asyncio.gather(listener._reading, return_exceptions=True)

    async def _read(self) -> None:
        fields: dict[str, str] = {}
        async for line in self.response.aiter_lines():
            if line.startswith(":"):
                self.comments.append(line)
            elif line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "data" in fields:
                self.ids.append(fields.get("id"))
                self.told.append((fields["event"], json.loads(fields["data"])))
                fields = {}
        self.ended = True
