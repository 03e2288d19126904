"""Redis as a gateway meets it, played: nothing passes and no time goes by until a script says so."""

import asyncio
import selectors
from collections.abc import Iterable

from jobcast.shared.errors import Unavailable
from jobcast.shared.journal import MemoryJournal
from jobcast.shared.journal.contract import Reading
from jobcast.shared.position import Position


class Frozen(asyncio.SelectorEventLoop):
    """A loop whose time passes only while everybody waits, and then at once. It has no sockets but its own."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_Leaping(self))

    def time(self) -> float:
        return self.now


class _Leaping(selectors.SelectSelector):
    def __init__(self, loop: Frozen) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everybody waits, and nothing will ever come"
        self._loop.now += max(0.0, timeout)
        return []


class Wire:
    """The feed's connection. Follow and unfollow as the hub calls them; what Redis says passes in order."""

    status = "alive"

    def __init__(self) -> None:
        self.coming: list[tuple[str, bytes, bytes]] = []
        """Confirmations and events that Redis has sent: kind, channel, event."""
        self._asked: list[tuple[str, bytes]] = []
        self._wanted: set[bytes] = set()
        self._subscribed: set[bytes] = set()
        self._waiters: dict[bytes, asyncio.Future[None]] = {}

    def follow(self, channel: bytes) -> "asyncio.Future[None]":
        waiter = self._waiters.get(channel)
        if waiter is None:
            waiter = self._waiters[channel] = asyncio.get_running_loop().create_future()
            self._wanted.add(channel)
            self._asked.append(("subscribe", channel))
        return waiter

    def unfollow(self, channel: bytes) -> None:
        self._wanted.discard(channel)
        if (waiter := self._waiters.pop(channel, None)) is not None:
            waiter.cancel()
        self._asked.append(("unsubscribe", channel))

    def heard_by_redis(self) -> None:
        """Redis takes what was asked of it, and answers behind all that it has published before."""
        for kind, channel in self._asked:
            (self._subscribed.add if kind == "subscribe" else self._subscribed.discard)(channel)
            self.coming.append((kind, channel, b""))
        self._asked.clear()

    def publish(self, channel: bytes, event: bytes) -> None:
        if channel in self._subscribed:
            self.coming.append(("message", channel, event))

    def cut(self) -> None:
        """The connection goes, and what was under way; the next one asks for all that is wanted."""
        self.coming.clear()
        self._subscribed.clear()
        self._asked = [("subscribe", channel) for channel in sorted(self._wanted)]

    def confirm(self, channel: bytes) -> None:
        waiter = self._waiters.get(channel)
        # Only the answer to the last one counts: behind an earlier one stands an unsubscription.
        ahead = [*self._asked, *(each[:2] for each in self.coming)]
        if waiter is not None and not waiter.done() and ("subscribe", channel) not in ahead:
            waiter.set_result(None)


class Slow:
    """The journal as a gateway reads it: asked now, read later, answered later still, or not at all."""

    def __init__(self, journal: MemoryJournal) -> None:
        self.asked: list[tuple[str, Position | None, asyncio.Future[Reading]]] = []
        self.answered: list[tuple[Reading, asyncio.Future[Reading]]] = []
        self._journal = journal

    async def read(self, job_id: str, since: Position | None = None) -> Reading:
        answer: asyncio.Future[Reading] = asyncio.get_running_loop().create_future()
        self.asked.append((job_id, since, answer))
        return await answer

    async def read_many(self, job_ids: Iterable[str]) -> list[Reading]:
        return list(await asyncio.gather(*(self.read(job_id) for job_id in job_ids)))

    async def look(self, which: int) -> None:
        """Redis reads for one who asked."""
        if self.asked:
            job_id, since, answer = self.asked.pop(which % len(self.asked))
            self.answered.append((await self._journal.read(job_id, since), answer))

    def arrive(self, which: int) -> None:
        if self.answered:
            reading, answer = self.answered.pop(which % len(self.answered))
            if not answer.done():
                answer.set_result(reading)

    def fail(self) -> bool:
        """All that is under way is answered by an error."""
        under_way = [answer for _, _, answer in self.asked] + [answer for _, answer in self.answered]
        waiting = [answer for answer in under_way if not answer.done()]
        self.asked.clear()
        self.answered.clear()
        for answer in waiting:
            answer.set_exception(Unavailable("Redis cannot be reached; try again"))
        return bool(waiting)
