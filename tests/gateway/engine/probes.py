"""What each trap is asked: a probe says what it saw, and the test which of two it must have been."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from typing import Final

from tests.gateway.engine.raw import CONTINUATION, PING, TEXT, Wire, frame, packet_frame
from tests.gateway.engine.support import SOCKET, ConformanceServer, Polling, websocket
from tests.gateway.support import stalled_socket, upgrade

HALF_A_SECOND_AND_SOME: Final = 0.9
"""What a deadline of half a second may take on a busy machine."""
WEBSOCKET: Final = f"{SOCKET}?EIO=4&transport=websocket"


@contextlib.asynccontextmanager
async def stalled(server: ConformanceServer) -> AsyncIterator[socket.socket]:
    """A client that has connected and reads nothing."""
    connection = await stalled_socket(server.port, upgrade(server.port, WEBSOCKET), packet_frame("40"))
    with connection:
        await asyncio.sleep(0.1)
        yield connection


@contextlib.asynccontextmanager
async def ponging(connection: socket.socket) -> AsyncIterator[None]:
    """Every ping is answered before it comes, so that only what is not written can tell that nobody reads."""

    async def pong() -> None:
        with contextlib.suppress(OSError):
            while True:
                await asyncio.get_running_loop().sock_sendall(connection, packet_frame("3"))
                await asyncio.sleep(0.1)

    task = asyncio.create_task(pong())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def is_freed_though_it_does_not_read(server: ConformanceServer) -> bool:
    """Whether session and descriptor are gone once nothing could be written for the deadline."""
    sessions, descriptors = await server.sessions(), server.descriptors
    async with stalled(server) as connection, ponging(connection):
        assert await server.sessions() == sessions + 1
        await server.ask(emit=50_000, times=200)
        await asyncio.sleep(2 * HALF_A_SECOND_AND_SOME)
        gone = await server.sessions() == sessions
        # The question itself held a connection.
        await asyncio.sleep(0.1)
        return gone and server.descriptors <= descriptors


async def growth_for_an_unread_flood(server: ConformanceServer, megabytes: int) -> int:
    """Bytes the server has grown by while it emitted so much to one that reads nothing."""
    before = server.memory
    async with stalled(server):
        await server.ask(emit=100_000, times=megabytes * 10)
        return await _most_growth(server, before)


async def growth_for_unread_pongs(server: ConformanceServer, megabytes: int) -> int:
    """Bytes the server has grown by while it was sent so much in pings whose pongs nobody reads."""
    before = server.memory
    async with stalled(server) as connection:
        pings = frame(PING, b"x" * 125) * 1000
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(2):
                for _ in range(megabytes * 1_000_000 // len(pings)):
                    await asyncio.get_running_loop().sock_sendall(connection, pings)
        return await _most_growth(server, before)


async def _most_growth(server: ConformanceServer, before: int) -> int:
    most, end = 0, time.monotonic() + 1
    while time.monotonic() < end:
        most = max(most, server.memory - before)
        await asyncio.sleep(0.05)
    return most


async def tasks_of_one_emit(server: ConformanceServer, recipients: int) -> int:
    """Tasks started to emit one event to so many."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(recipients):
            await stack.enter_async_context(websocket(server.port, SOCKET, connect=True))
        return (await server.ask(emit=10, times=1))["most_tasks"]


async def ghosts_of(server: ConformanceServer, packet: str) -> tuple[bool, int]:
    """Whether a packet that is none closes its connection at once, and the sessions that stay behind it."""
    before = await server.sessions()
    async with websocket(server.port, SOCKET, connect=True) as wire:
        await wire.send_packets(packet)
        closed = await wire.end(0.3) is not None
        return closed, await server.sessions() - before


async def polls_held(server: ConformanceServer, polls: int) -> int:
    """How many of so many polls of one session are waiting still after two seconds."""
    async with Polling.to(server.port, SOCKET) as session:
        waiting = [asyncio.create_task(session.get()) for _ in range(polls)]
        _, held = await asyncio.wait(waiting, timeout=2)
        for each in held:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return len(held)


async def is_closed_for(server: ConformanceServer, *packets: str, after: float = 0.3) -> bool:
    """Whether a connected client that sends this is closed in time."""
    async with websocket(server.port, SOCKET, connect=True) as wire:
        await wire.send_packets(*packets)
        return await wire.end(after) is not None


async def is_closed_without_connect(server: ConformanceServer) -> bool:
    async with websocket(server.port, SOCKET) as wire:
        return await wire.end(HALF_A_SECOND_AND_SOME) is not None


async def is_closed_for_fragments(server: ConformanceServer, count: int) -> bool:
    async with websocket(server.port, SOCKET, connect=True) as wire:
        await wire.send(frame(TEXT, b"4", fin=False) + frame(CONTINUATION, b"x", fin=False) * count)
        return await wire.end(0.3) is not None


async def answer_to(port: int, data: bytes, patience: float) -> int | str:
    """The status these bytes are answered with, ``closed`` where there is none, ``waiting`` where nothing comes."""
    async with Wire.to(port) as wire:
        await wire.send(data)
        try:
            answer = await wire.answer(patience)
        except TimeoutError:
            return "waiting"
        return answer.status if answer is not None else "closed"


async def end_of_half_a_body(server: ConformanceServer) -> int | str:
    """What becomes of a poller that posts the half of what it announced."""
    async with Polling.to(server.port, SOCKET) as session:
        first = f"POST {SOCKET}?EIO=4&transport=polling&sid={session.sid} HTTP/1.1"
        head = f"{first}\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n"
        return await answer_to(server.port, head.encode() + b"4", HALF_A_SECOND_AND_SOME)


async def extensions_of(server: ConformanceServer) -> str:
    """What is negotiated with a client that offers to compress."""
    async with Wire.to(server.port) as wire:
        answer = await wire.upgrade(WEBSOCKET, "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")
        assert answer is not None
        assert answer.status == 101
        return answer.headers.get("sec-websocket-extensions", "")


async def survives_a_step_of_the_clock(server: ConformanceServer, seconds: float) -> bool:
    """Whether a client that is about to answer a ping is served still after the wall clock was set."""
    async with websocket(server.port, SOCKET, connect=True) as wire:
        assert await wire.bare_packet() == "2"
        await server.ask(step=seconds)
        await server.ask(emit=1, times=1)
        await wire.send_packets("3", '42["message",1]')
        for _ in range(5):
            with contextlib.suppress(TimeoutError):
                packet = await wire.packet(0.3)
                if packet is None:
                    return False
                if packet == '42["message-back",1]':
                    return True
        return False
