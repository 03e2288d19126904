"""WebSocket clients that cost little: a thousand of them come back at once, and what is measured is the gateway."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import urlsplit

from tests.gateway.support import frame, upgrade
from tests.soak.resuming import OPEN_WITHIN, BySocketIo, ByWebSocket, Classic, Refused

TEXT: Final = 0x81
PING: Final = 0x89
PONG: Final = b"\x8a\x80\0\0\0\0"


class Connection:
    """Of the protocol, what the gateway's messages need: whole text frames, and pings without a payload."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.transport = writer.transport
        self._reader = reader

    async def send(self, text: str) -> None:
        self.transport.write(frame(text))

    async def recv(self) -> bytes:
        """The next text; raises when the connection ends."""
        while True:
            kind, size = await self._reader.readexactly(2)
            if size >= 126:
                size = int.from_bytes(await self._reader.readexactly(2 if size == 126 else 8), "big")
            data = await self._reader.readexactly(size)
            if kind == TEXT:
                return data
            if kind != PING:
                raise Refused(f"frame {kind:#x}", data)
            self.transport.write(PONG)


@contextlib.asynccontextmanager
async def dialled(url: str, path: str) -> AsyncIterator[Connection]:
    port = urlsplit(url).port or 80
    async with asyncio.timeout(OPEN_WITHIN):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(upgrade(port, path))
        async with asyncio.timeout(OPEN_WITHIN):
            head = await reader.readuntil(b"\r\n\r\n")
        if b" 101 " not in head[:16]:
            raise Refused(head)
        yield Connection(reader, writer)
    except asyncio.IncompleteReadError as error:
        raise Refused("the connection ended") from error
    finally:
        writer.transport.abort()


class _Light(ByWebSocket):
    async def _live(self, url: str) -> None:
        async with dialled(url, self.path) as dialled_connection:
            # It has what is used of the library's.
            connection: Any = dialled_connection
            self._transport = connection.transport
            await self._begin(connection)
            while True:
                await self._take(connection, await connection.recv())


class LightWebSocket(_Light):
    """Plain WebSocket."""


class LightSocketIo(_Light, BySocketIo):
    """Socket.IO."""


class LightClassic(_Light, Classic):
    """The front ends of old."""
