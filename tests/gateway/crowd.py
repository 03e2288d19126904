"""Many raw connections at once, and what a gateway process spends on them."""

import asyncio
import contextlib
import os
import re
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

from tests.gateway.support import http

LIMITED = ("sh", "-c", 'ulimit -n 256; exec "$@"', "sh")
"""Runs a command with 256 descriptors, soft and hard."""


def anonymous(pid: int) -> int:
    """Bytes of memory that are the process's own: no file's, no kernel buffer's."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    found = re.search(r"^Anonymous:\s+(\d+) kB", rollup, re.MULTILINE)
    assert found, rollup
    return int(found[1]) * 1024


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208  names are enough


async def gauge(url: str, name: str) -> float:
    """A metric's value, summed over its labels."""
    async with http(url) as client:
        text = (await client.get("/metrics")).text
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*?}})? (\S+)$", text, re.MULTILINE))


async def dial(port: int, *, buffer: int = 0, said: bytes = b"") -> socket.socket:
    """A connection that has said this; ``buffer`` makes its receive buffer small."""
    connection = socket.socket()
    if buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(connection, ("127.0.0.1", port))
    if said:
        await loop.sock_sendall(connection, said)
    return connection


@contextlib.asynccontextmanager
async def crowd(number: int, make: Callable[[], "asyncio.Future[socket.socket]"]) -> AsyncIterator[list[socket.socket]]:
    """So many at once; all are closed afterwards."""
    sockets: list[socket.socket] = []
    try:
        for each in asyncio.as_completed([make() for _ in range(number)]):
            sockets.append(await each)  # noqa: PERF401  those that came are closed also when one does not
        yield sockets
    finally:
        close(sockets)


def close(sockets: Iterable[socket.socket]) -> None:
    for each in sockets:
        each.close()


async def ended(connection: socket.socket) -> bytes:
    """All it is told until the other side ends it, politely or not."""
    told = b""
    with contextlib.suppress(ConnectionError):
        while data := await asyncio.get_running_loop().sock_recv(connection, 65536):
            told += data
    return told


async def answered(connection: socket.socket, timeout: float = 5.0) -> tuple[int, bytes]:
    """Status and body of one HTTP answer, whole: a server may send its head before its body."""
    loop, told = asyncio.get_running_loop(), b""
    async with asyncio.timeout(timeout):
        while True:
            head, end, body = told.partition(b"\r\n\r\n")
            if end and len(body) >= int(re.findall(rb"(?i)\r\ncontent-length: *(\d+)", head)[0]):
                return int(head[9:12]), body
            data = await loop.sock_recv(connection, 65536)
            assert data, f"ended within an answer: {told!r}"
            told += data
