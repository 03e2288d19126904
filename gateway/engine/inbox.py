"""What a client has said and is not answered yet: in order, one at a time, bounded."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Generic, Protocol, TypeVar

from jobcast.shared import logs

T = TypeVar("T")
MOST: Final = 16
"""Beyond, the connection is not read until the client has been answered."""
log = logs.get("inbox")


class Readable(Protocol):
    """The connection it came by."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Inbox(Generic[T]):
    """``handle`` is called for each item once the one before is done. A task exists only while something is handled."""

    __slots__ = ("_failed", "_handle", "_items", "_room", "_source", "_task")

    def __init__(self, handle: Callable[[T], Awaitable[None]], failed: Callable[[], None]) -> None:
        self._handle = handle
        self._failed = failed
        self._items: deque[T] | None = None
        self._source: Readable | None = None
        self._room: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        """Nothing is under way: what comes now may be answered now."""
        return self._items is None

    def put(self, item: T, source: Readable | None) -> None:
        if self._items is not None:
            self._items.append(item)
            if len(self._items) >= MOST and self._source is None and source is not None:
                self._source = source
                source.pause_reading()
            return
        self._items = deque((item,))
        self._task = asyncio.create_task(self._work())

    async def room(self) -> None:
        """Wait until there is room for more; for a transport whose reading cannot be paused."""
        while self._items is not None and len(self._items) >= MOST:
            self._room = self._room or asyncio.get_running_loop().create_future()
            await asyncio.shield(self._room)

    def close(self) -> None:
        """Drop what is not answered; a call under way is cancelled."""
        self._items = None
        self._make_room()
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
        self._task = None
        # Whose methods these are holds this inbox: together they would wait for the collector.
        self._handle, self._failed = _nobody, _nothing

    async def _work(self) -> None:
        try:
            while self._items:
                await self._handle(self._items.popleft())
                if self._items is not None and len(self._items) < MOST // 2:
                    self._make_room()
        except Exception:
            log.exception("a call failed")
            self._failed()
        finally:
            if self._task is asyncio.current_task():
                self._items = None
                self._task = None

    def _make_room(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            source.resume_reading()
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)


async def _nobody(_item: object) -> None:
    """Handles what comes for one that is gone."""


def _nothing() -> None:
    pass
