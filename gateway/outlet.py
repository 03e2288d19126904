"""Where the messages for one connection go: written at once while it takes them, kept in its outbox while it does not.

Everything a connection is sent passes through its one outlet, so events, answers and replays keep their order.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from jobcast.gateway.outbox import Outbox, Overflow

NOTHING: Final = Outbox()
"""Stands in where nothing was ever kept: most connections need no outbox in all their life."""


class Outlet:
    """``on_room`` is called when what was kept is sent; :meth:`slow` when the client asks for more than it reads.

    While ``blocked`` nothing is written; while it is not, nothing is kept. ``descriptor`` may be written to directly
    while it is not blocked, and what the kernel does not take goes to :meth:`rest`; below 0 there is none.
    """

    __slots__ = ("blocked", "descriptor", "on_room", "outbox")

    def __init__(self) -> None:
        self.blocked = False
        self.descriptor = -1
        self.outbox = NOTHING
        self.on_room: list[Callable[[], None]] = []

    def offer(self, entry: bytes) -> bool:
        """Send events. False when there is no room: they are to be read from the journal later."""
        if self.blocked:
            return self.keep(entry)
        self.write(entry)
        return True

    def push(self, entry: bytes) -> None:
        """Send an answer, which is always taken; one client too many answers behind is closed as slow."""
        if not self.blocked:
            self.write(entry)
            return
        try:
            self._own_outbox().push(entry)
        except Overflow:
            self.slow()

    def keep(self, entry: bytes) -> bool:
        """Queue events, if there is room."""
        return self._own_outbox().offer(entry)

    def write(self, entry: bytes) -> None:
        """Send now; only while not blocked."""
        raise NotImplementedError

    def rest(self, entry: bytes) -> None:
        """Send what a direct write left over."""
        raise NotImplementedError

    def broken(self) -> None:
        """A direct write failed: the connection is gone."""
        raise NotImplementedError

    def slow(self) -> None:
        """The client reads less than it asks for, or nothing: end it. It may resume by position."""
        raise NotImplementedError

    @property
    def roomy(self) -> bool:
        return self.outbox.roomy

    def drain(self) -> None:
        """Send what was kept, as far as it is taken, then say that there is room."""
        while not self.blocked and len(self.outbox):
            self.write(b"".join(self.outbox.take()))
        if not len(self.outbox):
            self.outbox = NOTHING
        if self.outbox.roomy:
            for call in tuple(self.on_room):
                call()

    def _own_outbox(self) -> Outbox:
        if self.outbox is NOTHING:
            self.outbox = Outbox()
        return self.outbox


class PullOutlet(Outlet):
    """For a door whose client asks for more: everything is kept until :meth:`take`."""

    __slots__ = ("_waiter", "ended", "on_slow")

    def __init__(self, on_slow: Callable[[], None]) -> None:
        super().__init__()
        self.blocked = True
        self.ended = False
        self.on_slow = on_slow
        self._waiter: asyncio.Future[None] | None = None

    def keep(self, entry: bytes) -> bool:
        taken = super().keep(entry)
        self._wake()
        return taken

    def push(self, entry: bytes) -> None:
        super().push(entry)
        self._wake()

    def slow(self) -> None:
        self.on_slow()

    def end(self) -> None:
        """Nothing more will come; who waits is told."""
        self.ended = True
        self._wake()

    async def ready(self) -> bool:
        """Wait until there is something to take; False when there never will be."""
        while not len(self.outbox):
            if self.ended:
                return False
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return True

    def take(self) -> list[bytes]:
        """The next entries; afterwards there may be room."""
        taken = self.outbox.take()
        if self.outbox.roomy:
            for call in tuple(self.on_room):
                call()
        return taken

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
