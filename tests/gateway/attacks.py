"""What hostile clients do: each attack opens a connection, sends too much, and sees that it is refused."""

import asyncio
import functools
import json
import socket
import zlib
from collections.abc import Awaitable, Callable

from tests.gateway.crowd import answered, close, dial, ended
from tests.gateway.support import frame, stalled_socket, upgrade

SOCKET_IO = "/socket.io/?EIO=4&transport=websocket"
Attack = Callable[[int], Awaitable[socket.socket]]


async def said(connection: socket.socket, timeout: float = 5.0) -> bytes:
    return await asyncio.wait_for(ended(connection), timeout)


def close_code(answer: bytes) -> int:
    """The code of the close frame at the end of what a WebSocket was told."""
    start = answer.rindex(b"\x88", answer.index(b"\r\n\r\n"))
    return int.from_bytes(answer[start + 2 : start + 4], "big")


async def pour(connection: socket.socket, data: bytes, most: int) -> int:
    """Send the same again and again, until it is taken no more; the bytes that were taken."""
    loop, sent = asyncio.get_running_loop(), 0
    try:
        while sent < most:
            await asyncio.wait_for(loop.sock_sendall(connection, data), 0.5)
            sent += len(data)
    except (TimeoutError, ConnectionError):
        pass
    return sent


# Each of these attacks, and leaves its connection open if the gateway does.


async def oversize_head(port: int) -> socket.socket:
    connection = await dial(port, said=b"GET / HTTP/1.1\r\nX: " + b"x" * 16 * 1024)
    assert (await said(connection)).startswith(b"HTTP/1.1 431 ")
    return connection


async def oversize_frame(port: int) -> socket.socket:
    # Announced alone, a byte over: no more than the frame's head is needed to refuse it.
    head = b"\x81\xff" + (64 * 1024 + 1).to_bytes(8, "big") + b"\0\0\0\0"
    connection = await dial(port, said=upgrade(port) + head + b"x" * 1024)
    assert close_code(await said(connection)) == 1009
    return connection


async def oversize_message_in_fragments(port: int) -> socket.socket:
    part = b"\x01\xfe" + (16_000).to_bytes(2, "big") + b"\0\0\0\0" + b"x" * 16_000
    more = b"\x00" + part[1:]
    connection = await dial(port, said=upgrade(port) + part + more * 5)
    assert close_code(await said(connection)) == 1009
    return connection


async def tiny_fragments(port: int) -> socket.socket:
    connection = await dial(port, said=upgrade(port) + b"\x01\x80\0\0\0\0" + b"\x00\x80\0\0\0\0" * 100)
    assert close_code(await said(connection)) == 1008
    return connection


@functools.cache
def bomb() -> bytes:
    """A thousand times larger unpacked."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(bytes(32 << 20)) + packer.flush()


async def deflate_bomb(port: int) -> socket.socket:
    # We never agree to compression, so its mark on a frame is a protocol error.
    packed = bomb()
    offer = upgrade(port, "/ws", None, "Sec-WebSocket-Extensions: permessage-deflate")
    connection = await dial(port, said=offer + b"\xc1\xfe" + len(packed).to_bytes(2, "big") + bytes(4) + packed)
    answer = await said(connection)
    assert b"sec-websocket-extensions" not in answer.lower()
    assert close_code(answer) == 1002
    return connection


async def ping_flood_unread(port: int) -> socket.socket:
    connection = await stalled_socket(port, upgrade(port))
    await pour(connection, PING * 500, 8 << 20)
    return connection


async def tiny_ping_flood_unread(port: int) -> socket.socket:
    # More pings for the same bytes: ten thousand fit what the kernel takes for one connection.
    connection = await stalled_socket(port, upgrade(port))
    await pour(connection, TINY_PING * 10_000, 8 << 20)
    return connection


async def unfinished_attachments(port: int) -> socket.socket:
    attachment = b"\x82\xfe" + (60_000).to_bytes(2, "big") + b"\0\0\0\0" + b"x" * 60_000
    holes = ",".join(f'{{"_placeholder":true,"num":{number}}}' for number in range(10))
    connection = await dial(port, said=upgrade(port, SOCKET_IO) + frame("40") + frame(f'4510-["x",{holes}]'))
    await pour(connection, attachment, 9 * len(attachment))
    await said(connection)
    return connection


async def unfinished_attachments_within_the_limit(port: int) -> socket.socket:
    attachment = b"\x82\xfe" + (6_000).to_bytes(2, "big") + b"\0\0\0\0" + b"x" * 6_000
    connection = await dial(port, said=upgrade(port, SOCKET_IO) + frame("40") + frame('4510-["x"]') + attachment * 9)
    await asyncio.sleep(0.5)
    return connection


async def too_many_attachments(port: int) -> socket.socket:
    connection = await dial(port, said=upgrade(port, SOCKET_IO) + frame("40") + frame('451000-["x"]'))
    await said(connection)
    return connection


async def duplicate_polls(port: int) -> socket.socket:
    first = await dial(port, said=get(port, "/socket.io/?EIO=4&transport=polling"))
    _, handshake = await answered(first)
    path = f"/socket.io/?EIO=4&transport=polling&sid={json.loads(handshake[1:])['sid']}"
    polls = [first, *[await dial(port) for _ in range(4)]]
    for each in polls:
        await asyncio.get_running_loop().sock_sendall(each, get(port, path))
    statuses = [(await answered(each))[0] for each in polls]
    close(polls[1:])
    assert statuses.count(400) == 4, statuses
    return first


def get(port: int, path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()


TINY_PING = b"\x89\x80\0\0\0\0"
PING = b"\x89\xfd\0\0\0\0" + b"x" * 125
ATTACKS = [
    oversize_head,
    oversize_frame,
    oversize_message_in_fragments,
    tiny_fragments,
    deflate_bomb,
    ping_flood_unread,
    tiny_ping_flood_unread,
    too_many_attachments,
    unfinished_attachments,
    unfinished_attachments_within_the_limit,
    duplicate_polls,
]
