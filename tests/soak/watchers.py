"""Watchers of one job, a thousand of them in this process, and how long each event took to reach them."""

import asyncio
import contextlib
import re
import socket
import time
from array import array
from collections.abc import AsyncIterator, Awaitable
from typing import Final

from jobcast.shared.journal import RedisJournal
from jobcast.shared.redis import connect
from tests.gateway.crowd import dial
from tests.gateway.events import progressed, queued, started
from tests.gateway.support import frame, upgrade
from tests.soak.stage import Figures, Spell
from tests.support.waiting import wait_until

SOCKET_IO: Final = "/socket.io/?EIO=4&transport=websocket"
_SEQ: Final = re.compile(rb'"seq":(\d+),"epoch"')
_PING: Final = b"\x81\x012"
_PONG: Final = frame("3")


def opening(port: int, job: str, number: int) -> bytes:
    """What a watcher says first: every second one speaks Socket.IO."""
    if number % 2:
        return upgrade(port, SOCKET_IO) + frame("40") + frame(f'42["subscribe-to-job","{job}"]')
    return upgrade(port) + frame(f'["subscribe-to-job","{job}"]')


class Publisher:
    """Appends events to one job at a steady rate, and notes when it began to publish each."""

    def __init__(self, redis_url: str, job: str, details: int) -> None:
        self.at: dict[int, float] = {}
        self.seq = 2
        self.ending = False
        self._job = job
        self._details = "x" * details
        self._redis = connect(redis_url, name="soak")
        self._journal = RedisJournal(self._redis)

    async def begin(self) -> None:
        await self._journal.append(queued(self._job))
        await self._journal.append(started(self._job))

    async def go_on(self, rate: float) -> None:
        """So many events a second, until ``ending``."""
        next_at = time.perf_counter()
        while not self.ending:
            self.seq += 1
            self.at[self.seq] = time.perf_counter()
            await self._journal.append(progressed(self._job, self.seq % 100, details=self._details))
            next_at += 1 / rate
            await asyncio.sleep(max(0, next_at - time.perf_counter()))

    async def close(self) -> None:
        await self._redis.aclose()


class Watcher:
    """Reads as fast as it can and notes the numbers alone: a parser for each would be what is measured."""

    def __init__(self, connection: socket.socket, crowd: "Crowd") -> None:
        self.connection = connection
        self.last = 0
        self.whole = True
        """Every event since the first one came once, in order, with nothing skipped."""
        self._crowd = crowd
        self._rest = b""
        asyncio.get_running_loop().add_reader(connection, self._read)

    def _read(self) -> None:
        try:
            data = self.connection.recv(1 << 16)
        except ConnectionError:
            data = b""
        if not data:
            self.whole = False
            self.stop()
            return
        now = time.perf_counter()
        if _PING in data:
            self.connection.send(_PONG)
        data = self._rest + data
        end = 0
        for found in _SEQ.finditer(data):
            self._note(int(found[1]), now)
            end = found.end()
        self.whole = self.whole and b'"skipped"' not in data
        self._rest = data[max(end, len(data) - 64) :]

    def _note(self, seq: int, now: float) -> None:
        # A snapshot names the event it ends with, which may follow it.
        if seq == self.last:
            return
        self.whole = self.whole and (not self.last or seq == self.last + 1)
        self.last = seq
        published = self._crowd.publisher.at.get(seq)
        if published is not None:
            self._crowd.took.append(now - published)

    def stop(self) -> None:
        if self.connection.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self.connection)
            self.connection.close()


class Crowd:
    """All of them, and the publisher they hear."""

    def __init__(self, publisher: Publisher) -> None:
        self.publisher = publisher
        self.watchers: list[Watcher] = []
        self.took = array("d")
        """Seconds from publishing to reading, of every event at every watcher."""
        self._publishing: asyncio.Task[None] | None = None

    def publish(self, rate: float) -> None:
        self._publishing = asyncio.create_task(self.publisher.go_on(rate))

    async def stop_publishing(self) -> None:
        if self._publishing is not None:
            self.publisher.ending = True
            await self._publishing

    async def spell(self, seconds: float) -> Spell:
        """What is heard in the next seconds."""
        return await self.meanwhile(asyncio.sleep(seconds))

    async def meanwhile(self, awaited: Awaitable[object]) -> Spell:
        """What is heard until this is done."""
        self.took = array("d")
        await awaited
        took, self.took = self.took, array("d")
        return Spell(sorted(took))

    async def hears_all(self, figures: Figures) -> None:
        """Stop publishing, and see whether everything reached everyone."""
        await self.stop_publishing()
        with contextlib.suppress(AssertionError):
            await wait_until(lambda: self._whole == len(self.watchers), 5)
        figures.holds(
            f"{self._whole} of {len(self.watchers)} watchers heard every event", self._whole == len(self.watchers)
        )

    @property
    def _whole(self) -> int:
        return sum(each.whole and each.last == self.publisher.seq for each in self.watchers)


@contextlib.asynccontextmanager
async def crowd(
    redis_url: str, port: int, number: int, *, rate: float, details: int, job: str = "j"
) -> AsyncIterator[Crowd]:
    """So many watch the job, and it goes on at this rate until the end."""
    publisher = Publisher(redis_url, job, details)
    found = Crowd(publisher)
    try:
        await publisher.begin()
        for each in range(number):
            found.watchers.append(Watcher(await dial(port, said=opening(port, job, each)), found))
        found.publish(rate)
        yield found
    finally:
        await found.stop_publishing()
        for watcher in found.watchers:
            watcher.stop()
        await publisher.close()
