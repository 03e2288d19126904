"""A TCP proxy that breaks links: late, in slices, reset, or half-open.

Half-open is what a lost route or an expired NAT entry leaves behind: both ends believe in the connection, whatever
they write is taken, and nothing arrives. The kernel makes no such link on one machine; a proxy that swallows does.
"""

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from typing import Final

RESET: Final = struct.pack("ii", 1, 0)
READ_AT_ONCE: Final = 1 << 16
CONNECT_WITHIN: Final = 3.0


class Link:
    """One connection from a client to a target."""

    def __init__(self, writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]) -> None:
        self.dark = False
        """For good: what is written to either end goes nowhere, an end of either side included."""
        self._writers = writers

    def reset(self) -> None:
        """Both ends read an error, not an end."""
        for writer in self._writers:
            if not writer.is_closing():
                with contextlib.suppress(OSError):
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()


class Proxy:
    """Listens on ``port`` and passes each connection to the first of ``targets`` (ports) that takes it.

    ``latency`` (seconds) delays each piece read, ``slices`` (bytes) is the most written at once, ``lifetime`` (seconds,
    from and to) has each link that comes reset after a while; None is neither.
    """

    def __init__(self, targets: Sequence[int], chance: random.Random) -> None:
        self.port = 0
        self.latency = 0.0
        self.slices: int | None = None
        self.lifetime: tuple[float, float] | None = None
        self.accepted = 0
        self.resets = 0
        self.links: set[Link] = set()
        self._targets = targets
        self._chance = chance
        self._dark = False
        self._serving: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, port: int) -> None:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", port, backlog=2048)
        self.port = port

    def reset(self) -> None:
        """Break every link there is."""
        for link in tuple(self.links):
            self._break(link)

    def blackhole(self) -> None:
        """All links go dark for good, and so do those to come, until :meth:`heal`."""
        self._dark = True
        for link in self.links:
            link.dark = True

    def heal(self) -> None:
        """New links pass again; those that went dark stay so, as nobody tells their ends."""
        self._dark = False

    def calm(self) -> None:
        """No link is reset any more."""
        self.lifetime = None

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self.reset()
        for task in tuple(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        self.accepted += 1
        try:
            await self._serve(reader, writer)
        except asyncio.CancelledError:
            # Only close() cancels; asyncio logs whatever leaves here as an error.
            pass
        finally:
            self._serving.discard(task)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = await self._dial()
        if target is None:
            return
        far_reader, far_writer = target
        link = Link((writer, far_writer))
        link.dark = self._dark
        self.links.add(link)
        end = self._end_of_life(link)
        try:
            await asyncio.gather(self._pass(link, reader, far_writer), self._pass(link, far_reader, writer))
        finally:
            if end is not None:
                end.cancel()
            self.links.discard(link)
            far_writer.transport.abort()

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for port in self._targets:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(CONNECT_WITHIN):
                    return await asyncio.open_connection("127.0.0.1", port)
        return None

    def _end_of_life(self, link: Link) -> asyncio.TimerHandle | None:
        if self.lifetime is None:
            return None
        return asyncio.get_running_loop().call_later(self._chance.uniform(*self.lifetime), self._expire, link)

    def _expire(self, link: Link) -> None:
        if self.lifetime is not None:
            self._break(link)

    def _break(self, link: Link) -> None:
        self.resets += 1
        link.reset()

    async def _pass(self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One way, until its end, which is passed on too."""
        with contextlib.suppress(OSError):
            while data := await reader.read(READ_AT_ONCE):
                if self.latency:
                    await asyncio.sleep(self.latency)
                for piece in self._sliced(data):
                    if not link.dark and not writer.is_closing():
                        writer.write(piece)
                        await writer.drain()
            if not link.dark and not writer.is_closing():
                writer.write_eof()
            return
        if not link.dark:
            link.reset()

    def _sliced(self, data: bytes) -> Sequence[bytes]:
        size = self.slices
        return [data] if size is None else [data[start : start + size] for start in range(0, len(data), size)]


@contextlib.asynccontextmanager
async def proxy(targets: Sequence[int], port: int, chance: random.Random) -> AsyncIterator[Proxy]:
    """Listening; every link is broken afterwards."""
    found = Proxy(targets, chance)
    await found.start(port)
    try:
        yield found
    finally:
        await found.close()
