"""Clients that watch a whole queue, by three doors; ``position`` is their place in it."""

import asyncio
import math
import random
from collections.abc import Sequence
from typing import Final

import aiohttp
import msgspec

from jobcast.shared.position import Position
from jobcast.shared.snapshot import JOB_SNAPSHOT
from jobcast.shared.states import LAW
from tests.soak.checker import Opened, Snapped, Told
from tests.soak.queue_checker import Asked, At, Forgot, Of, QueueEntry
from tests.soak.resuming import BySocketIo, BySse, ByWebSocket, Payload, Resuming


class OfQueue(Resuming):
    """``queue_log`` is what it was told; ``log`` has the same without the jobs, for the figures."""

    def __init__(self, queue: str, urls: Sequence[str], chance: random.Random) -> None:
        super().__init__(queue, urls, chance)
        self.queue = queue
        self.queue_log: list[QueueEntry] = []
        self._asked_at: int | None = None

    @property
    def goal(self) -> str:
        return f"queue {self.queue}"

    def _open(self, since: Position | None) -> None:
        self.log.append(Opened(since))
        # A watch begins when it is answered: in a crowd that comes at once, jobs may come and go before that.
        self._asked_at = len(self.queue_log) if since is None else None
        self.queue_log.append(Asked(since, math.inf))
        self.position = since

    def _is_answered(self) -> None:
        if self._asked_at is not None:
            self.queue_log[self._asked_at] = Asked(None, asyncio.get_running_loop().time())
            self._asked_at = None

    def _call(self) -> str:
        since = self._ask()
        return msgspec.json.encode(
            ["subscribe-to-queue", {"queueName": self.queue, "since": since and since._asdict()}]
        ).decode()

    def _hear(self, name: str, payload: Payload) -> None:
        position = payload.position
        place = None if payload.place is None else Position(payload.place.epoch, payload.place.seq)
        if name == "queue-position":
            assert position is not None
            self._is_answered()
            self.position = position
            self.queue_log.append(At(position))
        elif name == "queue-reset":
            self.position = None
            self.log.append(Snapped(None, "unknown"))
            self.queue_log.append(Forgot(asyncio.get_running_loop().time()))
        elif name in LAW:
            assert position is not None, f"{name} of {payload.job_id} without a position"
            self._note(Of(payload.job_id, Told(name, position, payload.skipped), place))
        elif name == JOB_SNAPSHOT:
            self._note(Of(payload.job_id, Snapped(position, payload.state, payload.recovered), place))
        else:
            super()._hear(name, payload)

    def _note(self, entry: Of) -> None:
        self._is_answered()
        self.log.append(entry.entry)
        self.queue_log.append(entry)
        if entry.place is not None:
            self.position = entry.place


class QueueByWebSocket(OfQueue, ByWebSocket):
    """Plain WebSocket."""

    door = "queue, websocket"


class QueueBySocketIo(OfQueue, BySocketIo):
    """Socket.IO."""

    door = "queue, socket.io"


class QueueBySse(OfQueue, BySse):
    """Server-sent events."""

    door = "queue, sse"

    def __init__(self, queue: str, urls: Sequence[str], chance: random.Random, session: aiohttp.ClientSession) -> None:
        BySse.__init__(self, queue, urls, chance, session)
        self.queue = queue
        self.queue_log = []
        self._asked_at = None

    @property
    def _path(self) -> str:
        return f"/api/v1/queues/{self.queue}/events"


DOORS: Final = 3


def queue_client(number: int, queue: str, urls: Sequence[str], seed: int, sse: aiohttp.ClientSession) -> OfQueue:
    """One of each door in turn, and every second one of a door begins at the other gateway."""
    turn = number // DOORS % len(urls)
    there, chance = [*urls[turn:], *urls[:turn]], random.Random(f"{seed}-queue-{number}")
    if number % DOORS == 1:
        return QueueBySse(queue, there, chance, sse)
    return (QueueBySocketIo if number % DOORS else QueueByWebSocket)(queue, there, chance)
