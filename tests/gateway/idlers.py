"""Connections that begin something and do not go on: what each says, and when the gateway ends it."""

import asyncio
import socket
import time
from collections.abc import Mapping
from typing import Final

from tests.gateway.crowd import dial, ended
from tests.gateway.support import frame, upgrade

SILENT: Final = "a silent connection"
HEADER: Final = "a header that never ends"
CONNECT: Final = "a WebSocket that never says CONNECT"
BODY: Final = "a slow body"
KINDS: Final = (SILENT, HEADER, CONNECT, BODY)
PATIENCE: Final = 20.0

DRIP: Final[Mapping[str, bytes]] = {HEADER: b"X-More: 1\r\n", BODY: b" ", CONNECT: frame("3")}
"""What each goes on to say, now and then: a deadline is for the whole, not for the next byte."""


def _said(port: int, kind: str) -> bytes:
    """What each says before it says no more."""
    host = f"Host: 127.0.0.1:{port}\r\n"
    return {
        SILENT: b"",
        HEADER: f"GET /healthz HTTP/1.1\r\n{host}".encode(),
        CONNECT: upgrade(port, "/socket.io/?EIO=4&transport=websocket"),
        BODY: f"POST /api/v1/jobs HTTP/1.1\r\n{host}Content-Length: 1000\r\n\r\n".encode(),
    }[kind]


async def lasts(port: int, kind: str) -> float:
    """Seconds from before it connected to its end: the gateway may meet it later, never earlier."""
    start = time.monotonic()
    connection = await dial(port, said=_said(port, kind))
    dripping = asyncio.create_task(_drip(connection, DRIP.get(kind, b"")))
    try:
        await asyncio.wait_for(ended(connection), PATIENCE)
        return time.monotonic() - start
    finally:
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)
        connection.close()


async def last(port: int, each: int) -> dict[str, list[float]]:
    """So many of each kind at once: how long they lasted, shortest first."""
    lasted = await asyncio.gather(*(lasts(port, kind) for kind in KINDS for _ in range(each)))
    return {kind: sorted(lasted[number * each : (number + 1) * each]) for number, kind in enumerate(KINDS)}


async def _drip(connection: socket.socket, data: bytes) -> None:
    while data:
        await asyncio.sleep(0.5)
        await asyncio.get_running_loop().sock_sendall(connection, data)
