"""Clients of three doors that come back by themselves, resume by position, and note all they are told."""

import asyncio
import contextlib
import itertools
import random
import socket
import struct
from collections.abc import Sequence
from typing import Any, Final

import aiohttp
import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from jobcast.shared.position import Position
from jobcast.shared.snapshot import JOB_SNAPSHOT
from jobcast.shared.states import LAW
from tests.soak.checker import Entry, Opened, Snapped, Told

OPEN_WITHIN: Final = 5.0
"""Seconds for a connection to be taken; a gateway that stands still is left for the other one."""
BACKOFF: Final = (0.05, 1.0)
READ_AT_ONCE: Final = 1 << 18
RESET: Final = struct.pack("ii", 1, 0)


class Refused(Exception):
    """The gateway said no, for now."""


class Place(msgspec.Struct):
    epoch: str
    seq: int


class Payload(msgspec.Struct):
    """Of everything that is sent, what a client needs to know where it is."""

    seq: int = 0
    epoch: str | None = None
    skipped: int = 0
    state: str = ""
    recovered: bool = False
    ok: bool = True
    job_id: str = msgspec.field(default="", name="jobId")
    place: Place | None = msgspec.field(default=None, name="queuePosition")

    @property
    def position(self) -> Position | None:
        return None if self.epoch is None else Position(self.epoch, self.seq)


_payload: Final = msgspec.json.Decoder(Payload).decode
read_message: Final = msgspec.json.Decoder(tuple[str, Payload]).decode


class Resuming:
    """Watches one job by one door. :meth:`run` is a task: it goes from gateway to gateway until it is cancelled."""

    door = ""
    classic = False
    """It knows neither snapshots nor positions, and asks anew each time."""

    def __init__(self, job_id: str, urls: Sequence[str], chance: random.Random) -> None:
        self.job_id = job_id
        self.log: list[Entry] = []
        self.position: Position | None = None
        self.present = False
        """The gateway has taken the subscription, on a connection that is still there as far as is known."""
        self.taken_at = 0.0
        """When that was; this and what follows in seconds, by the loop's clock."""
        self.left_at = 0.0
        """When the last connection ended."""
        self.waited = 0.0
        """Slept between connections, in all."""
        self._chance = chance
        self._urls = itertools.cycle(urls)
        self._delay = BACKOFF[0]
        self._transport: asyncio.WriteTransport | None = None

    @property
    def goal(self) -> str:
        """What it is to be level with."""
        return self.job_id

    @property
    def connections(self) -> int:
        return sum(isinstance(entry, Opened) for entry in self.log)

    async def run(self) -> None:
        while True:
            with contextlib.suppress(OSError, TimeoutError, WebSocketException, aiohttp.ClientError, Refused):
                await self._live(next(self._urls))
            self._transport, self.present = None, False
            self.left_at = asyncio.get_running_loop().time()
            wait = self._delay * self._chance.uniform(0.5, 1)
            await asyncio.sleep(wait)
            self.waited += wait
            self._delay = min(2 * self._delay, BACKOFF[1])

    def reset(self) -> None:
        """Break the connection as a mobile network does: the gateway reads an error, not an end."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self._transport.abort()
            self.present = False

    async def _live(self, url: str) -> None:
        """Connect, ask, and hear; returns or raises when the connection is over."""
        raise NotImplementedError

    def _ask(self) -> Position | None:
        """Where to go on from, which is noted."""
        since = None if self.classic else self.position
        self._open(since)
        return since

    def _open(self, since: Position | None) -> None:
        self.log.append(Opened(since))

    def _call(self) -> str:
        since = self._ask()
        return msgspec.json.encode(
            ["subscribe-to-job", {"jobId": self.job_id, "since": since and since._asdict()}]
        ).decode()

    def _hear(self, name: str, payload: Payload) -> None:
        position = payload.position
        if name in LAW:
            assert position is not None, f"{name} of {self.job_id} without a position"
            self.log.append(Told(name, position, payload.skipped))
            if position.is_news(self.position):
                self.position = position
        elif name == JOB_SNAPSHOT:
            self.log.append(Snapped(position, payload.state, payload.recovered))
            if position is None or position.is_news(self.position):
                self.position = position
        elif name == "subscription-success":
            self._taken()
        elif name == "subscription-error":
            raise Refused

    def _taken(self) -> None:
        self.present = True
        self.taken_at = asyncio.get_running_loop().time()
        self._delay = BACKOFF[0]


class ByWebSocket(Resuming):
    """Plain WebSocket, by the websockets library."""

    door = "websocket"
    path = "/ws"

    async def _live(self, url: str) -> None:
        async with connect(
            f"ws{url.removeprefix('http')}{self.path}",
            proxy=None,
            compression=None,
            open_timeout=OPEN_WITHIN,
            close_timeout=1,
            ping_interval=None,
            max_size=None,
        ) as connection:
            self._transport = connection.transport
            await self._begin(connection)
            while True:
                await self._take(connection, await connection.recv(decode=False))

    async def _begin(self, connection: ClientConnection) -> None:
        await connection.send(self._call())

    async def _take(self, _connection: ClientConnection, text: bytes) -> None:
        self._hear(*read_message(text))


class BySocketIo(ByWebSocket):
    """Socket.IO, its packets written by hand: a client library would come back in its own ways."""

    door = "socket.io"
    path = "/socket.io/?EIO=4&transport=websocket"

    async def _begin(self, connection: ClientConnection) -> None:
        """The gateway speaks first."""

    async def _take(self, connection: ClientConnection, text: bytes) -> None:
        if text.startswith(b"42"):
            self._hear(*read_message(text[2:]))
        elif text == b"2":
            await connection.send("3")
        elif text.startswith(b"0"):
            await connection.send("40")
        elif text.startswith(b"40"):
            await connection.send(f"42{self._call()}")
        else:
            raise Refused(text)


class Classic(BySocketIo):
    """The front ends of old: they subscribe anew after every reconnect and wait for the four events they know."""

    door = "classic"
    classic = True


class BySse(Resuming):
    """Server-sent events, resumed as browsers do: from the last ``id`` that came, whatever it came with."""

    door = "sse"

    def __init__(self, job_id: str, urls: Sequence[str], chance: random.Random, session: aiohttp.ClientSession) -> None:
        super().__init__(job_id, urls, chance)
        self._session = session
        self._last_id = ""

    async def _live(self, url: str) -> None:
        self._open(Position.parse(self._last_id) if self._last_id else None)
        headers = {"Last-Event-ID": self._last_id} if self._last_id else {}
        async with asyncio.timeout(OPEN_WITHIN):
            response = await self._session.get(f"{url}{self._path}", headers=headers)
        async with response:
            if response.status != 200:
                raise Refused(response.status)
            assert response.connection is not None
            self._transport = response.connection.transport
            self._taken()
            await self._read(response.content)

    @property
    def _path(self) -> str:
        return f"/api/v1/jobs/{self.job_id}/events"

    async def _read(self, lines: aiohttp.StreamReader) -> None:
        fields: dict[bytes, bytes] = {}
        async for line in lines:
            name, _, value = line.rstrip(b"\n").partition(b": ")
            if name:
                fields[name] = value
            elif b"data" in fields:
                # Only with the whole block: what was cut short within one was not told.
                self._last_id = fields.get(b"id", self._last_id.encode()).decode()
                self._hear(fields[b"event"].decode(), _payload(fields[b"data"]))
                fields = {}


def session() -> aiohttp.ClientSession:
    """What all SSE clients connect through; a connection is never used twice."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        timeout=aiohttp.ClientTimeout(total=None),
        read_bufsize=READ_AT_ONCE,
    )


DOORS: Final[tuple[type[Resuming], ...]] = (ByWebSocket, BySse, BySocketIo, Classic)


def client(
    number: int,
    job_id: str,
    urls: Sequence[str],
    seed: int,
    sse: aiohttp.ClientSession,
    *,
    doors: Sequence[type[Resuming]] = DOORS,
) -> Resuming:
    """One of each door in turn, and every second one of a door begins at the other gateway."""
    kind = doors[number % len(doors)]
    turn = number // len(doors) % len(urls)
    more: tuple[Any, ...] = (sse,) if kind is BySse else ()
    return kind(job_id, [*urls[turn:], *urls[:turn]], random.Random(f"{seed}-{number}"), *more)
