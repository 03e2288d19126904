"""A client that says exactly the bytes it is told to, and notes exactly what comes back, and when."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import NamedTuple, Self

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
MASK = b"\x01\x02\x03\x04"
NO_CODE = 1005
"""What RFC 6455 calls a close frame that carries no code."""


def frame(
    opcode: int, data: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True, width: int = 0
) -> bytes:
    """A client's frame; ``width`` forces a length field of that many bits, be it the right one or not."""
    width = width or (7 if len(data) < 126 else 16 if len(data) < 1 << 16 else 64)
    first = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    mark = 0x80 if masked else 0
    size = {
        7: lambda: bytes([mark | len(data)]),
        16: lambda: bytes([mark | 126]) + len(data).to_bytes(2, "big"),
        64: lambda: bytes([mark | 127]) + len(data).to_bytes(8, "big"),
    }[width]()
    return first + size + (MASK + mask(data) if masked else data)


def mask(data: bytes) -> bytes:
    whole = MASK * (len(data) // 4 + 1)
    return (int.from_bytes(data, "big") ^ int.from_bytes(whole[: len(data)], "big")).to_bytes(len(data), "big")


def packet_frame(packet: str | bytes) -> bytes:
    """An Engine.IO packet as a client sends it over a WebSocket."""
    return frame(BINARY, packet) if isinstance(packet, bytes) else frame(TEXT, packet.encode("utf-8", "surrogatepass"))


@dataclass(frozen=True)
class Answer:
    """An HTTP answer: its status, its headers by lower-case name, its body."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class End(NamedTuple):
    """How a connection ended: by a close frame's code (None where TCP ended without one), and how long it took."""

    code: int | None
    seconds: float


class _Reader(asyncio.StreamReader):
    """What came before a reset is read before the reset is seen, which then is an end like any other."""

    def set_exception(self, _exc: BaseException) -> None:
        self.feed_eof()


class Wire:
    """One TCP connection; a WebSocket once :meth:`upgrade` was answered with 101."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.close_code: int | None = None
        self.control: list[tuple[int, bytes]] = []
        """Pings and pongs of the WebSocket protocol, as they came."""

    @classmethod
    @contextlib.asynccontextmanager
    async def to(cls, port: int) -> AsyncIterator[Self]:
        loop = asyncio.get_running_loop()
        reader = _Reader(limit=1 << 20, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await loop.create_connection(lambda: protocol, "127.0.0.1", port)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        try:
            yield cls(reader, writer)
        finally:
            writer.transport.abort()

    async def send(self, data: bytes) -> None:
        """Write; a server that has hung up or reads no more is found out by reading."""
        self.writer.write(data)
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(1):
                await self.writer.drain()

    async def answer(self, timeout: float = 2.0) -> Answer | None:
        """The next HTTP answer; None where the connection ends without one."""
        async with asyncio.timeout(timeout):
            try:
                head = await self.reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                return None
            first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
            pairs = (line.partition(":") for line in lines)
            headers = {name.lower(): value.strip() for name, _, value in pairs}
            status = int(first.split()[1])
            return Answer(status, headers, b"" if status == 101 else await self._body(headers))

    async def _body(self, headers: dict[str, str]) -> bytes:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            if "content-length" in headers:
                return await self.reader.readexactly(int(headers["content-length"]))
            if headers.get("transfer-encoding") == "chunked":
                body = b""
                while size := int(await self.reader.readline(), 16):
                    body += (await self.reader.readexactly(size + 2))[:-2]
                await self.reader.readline()
                return body
            return await self.reader.read()
        return b""

    async def upgrade(self, path: str, *headers: str, key: str = "dGhlIHNhbXBsZSBub25jZQ==") -> Answer | None:
        port = self.writer.get_extra_info("peername")[1]
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
            *headers,
        ]
        await self.send("\r\n".join([*lines, "", ""]).encode("latin-1"))
        return await self.answer()

    async def send_packets(self, *packets: str | bytes) -> None:
        await self.send(b"".join(map(packet_frame, packets)))

    async def packet(self, timeout: float = 1.0) -> str | bytes | None:
        """The next packet; Engine.IO's pings are answered on the way, and None is the end of the connection."""
        async with asyncio.timeout(timeout):
            while (packet := await self.bare_packet()) == "2":
                await self.send_packets("3")
            return packet

    async def bare_packet(self) -> str | bytes | None:
        """The next packet, whatever it is."""
        while (found := await self.frame()) is not None:
            opcode, data = found
            if opcode == TEXT:
                return data.decode()
            if opcode == BINARY:
                return data
            if opcode == CLOSE:
                self.close_code = int.from_bytes(data[:2], "big") if len(data) >= 2 else NO_CODE
                await self.send(frame(CLOSE, data))
            else:
                self.control.append((opcode, data))
                if opcode == PING:
                    await self.send(frame(PONG, data))
        return None

    async def frame(self) -> tuple[int, bytes] | None:
        """The next frame; no server of ours fragments, and none may mask."""
        try:
            first, second = await self.reader.readexactly(2)
            assert first & 0x70 == 0, "reserved bits without an extension"
            assert second & 0x80 == 0, "a server that masks"
            size = second & 0x7F
            if size >= 126:
                size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8), "big")
            return first & 0x0F, await self.reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def end(self, timeout: float = 0.5) -> End | None:
        """How it ends, packets on the way passed over; None where it is open still when the time is up."""
        begin = time.monotonic()
        try:
            while await self.packet(timeout - (time.monotonic() - begin)) is not None:
                pass
        except TimeoutError:
            return None
        return End(self.close_code, time.monotonic() - begin)
