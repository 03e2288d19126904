"""A webhook's receiver on this machine that answers as it is told: well, badly, late, or not at all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from tests.support.waiting import free_port

Mood = Literal["take", "fail", "hang", "drip", "cut", "redirect"]


@dataclass(frozen=True)
class Post:
    """One request: its headers, names in small letters, and its body."""

    headers: dict[str, str]
    body: bytes

    @property
    def alert(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.json.decode(self.body)
        return found


class Receiver:
    """``moods`` are for the requests to come, one each; after them it takes what comes."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/hook/hush"
        self.posts: list[Post] = []
        self.moods: list[Mood] = []
        self._server: asyncio.Server | None = None
        self._busy: set[asyncio.Task[Any]] = set()

    @property
    def ids(self) -> list[str]:
        return [post.headers["jobcast-alert"] for post in self.posts]

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Gone: whoever connects is refused."""
        if self._server is not None:
            self._server.close()
        for task in self._busy:
            task.cancel()
        await asyncio.gather(*self._busy, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._busy.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:-2]
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head)}
            body = await reader.readexactly(int(headers["content-length"]))
            self.posts.append(Post(headers, body))
            mood = self.moods.pop(0) if self.moods else "take"
            if mood == "hang":
                await asyncio.sleep(60)
            if mood == "drip":
                writer.write(b"HTTP/1.1 200 OK\r\nX: ")
                while not writer.is_closing():
                    writer.write(b"x")
                    await asyncio.sleep(0.05)
            status = {"take": "204 OK", "fail": "500 No", "redirect": f"302 There\r\nLocation: {self.url}"}.get(mood)
            if status is not None:
                writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
                await writer.drain()
        finally:
            writer.close()
            self._busy.discard(task)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    await receiver.start()
    try:
        yield receiver
    finally:
        await receiver.stop()
