"""Following jobs over the plain WebSocket door, across lost connections."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final

import websockets
from websockets.asyncio.client import ClientConnection, connect
from websockets.datastructures import Headers

from jobcast.cli import wire
from jobcast.cli.exits import Unreachable
from jobcast.cli.gateway_url import door, is_loopback
from jobcast.cli.ledger import Taken
from jobcast.cli.screen import FRAME, Screen
from jobcast.cli.watch import Watch
from jobcast.shared.errors import BadRequest

PATIENCE: Final = 60.0
"""Seconds without a connection after which a tail gives up."""
ANSWER_TIMEOUT: Final = 10.0
LAST_EVENT_TIMEOUT: Final = 2.0
"""How long a job known to be over is given to send the event that says so once more."""
STALE: Final = "the gateway hears nothing from Redis; what is shown may be old"
CURRENT: Final = "the gateway hears from Redis again; what was missed has been shown"
LONGEST_ASKED: Final = 30.0
"""Seconds a gateway may ask us to wait before the next attempt."""
LARGEST_MESSAGE: Final = 16 * 1024 * 1024


class _Lost(Exception):
    """The connection is of no more use, though the gateway may be; the text says why.

    ``after`` is how many seconds the gateway asks us to stay away.
    """

    def __init__(self, why: str, after: float = 0.0) -> None:
        super().__init__(why)
        self.after = after


def backoff(chance: Callable[[], float] = random.random) -> Iterator[float]:
    """Waits between attempts, 0.2 to 5 s; by chance, so that a gateway's clients do not all come back at once."""
    wait = 0.2
    while True:
        yield max(0.2, wait * (0.5 + chance() / 2))
        wait = min(5.0, wait * 2)


async def tail(url: str, watch: Watch, screen: Screen, *, patience: float = PATIENCE) -> int:
    """Show what is watched until it has ended; returns the exit code.

    Raises:
        Unreachable: no connection for ``patience`` seconds, or what answers is no gateway.
        Rejected: the gateway said no, and would again.
    """
    with screen:
        drawing = asyncio.create_task(_keep_drawing(screen))
        try:
            await _Tail(url, watch, screen, patience).run()
            screen.draw()
        finally:
            drawing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await drawing
    return watch.exit_code()


async def _keep_drawing(screen: Screen) -> None:
    while True:
        await asyncio.sleep(FRAME)
        screen.draw()


class _Tail:
    def __init__(self, url: str, watch: Watch, screen: Screen, patience: float) -> None:
        self._url = url
        self._watch = watch
        self._screen = screen
        self._patience = patience
        self._serving = False
        self._served_at = time.monotonic()
        self._told_lost = False
        self._waits = backoff()

    async def run(self) -> None:
        while True:
            try:
                async with self._connected() as connection:
                    await self._serve(connection)
                    return
            except _Lost as lost:
                await self._wait(str(lost), lost.after)

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[ClientConnection]:
        """A connection; whatever ends it or keeps it from being made is ``_Lost``, unless trying again is no use."""
        try:
            async with connect(
                door(self._url, "/ws", websocket=True),
                proxy=None if is_loopback(self._url) else True,
                compression=None,
                open_timeout=min(5.0, self._patience),
                ping_interval=10,
                ping_timeout=10,
                close_timeout=1,
                max_size=LARGEST_MESSAGE,
            ) as connection:
                yield connection
        except websockets.InvalidStatus as error:
            status = error.response.status_code
            if status < 500 and status not in {408, 429}:
                raise Unreachable(f"{self._url} answered {status} at /ws: no jobcast gateway serves there") from error
            raise _Lost(f"the gateway answered {status}", _retry_after(error.response.headers)) from error
        except websockets.ConnectionClosed as error:
            raise _Lost(error.rcvd.reason if error.rcvd and error.rcvd.reason else "closed") from error
        except websockets.InvalidHandshake as error:
            raise Unreachable(f"{self._url} speaks no WebSocket at /ws: no jobcast gateway serves there") from error
        except TimeoutError as error:
            raise _Lost("it did not answer in time") from error
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise  # Our own reader went away: sockets report theirs as a closed connection.
            raise _Lost(error.strerror or str(error)) from error

    async def _serve(self, connection: ClientConnection) -> None:
        for call in self._watch.opening():
            await connection.send(call.encode())
        while not self._watch.settled:
            try:
                async with asyncio.timeout(self._deadline()):
                    text = await connection.recv()
            except TimeoutError:
                if self._watch.over and not self._watch.unanswered:
                    return
                raise
            await self._take(connection, text)

    def _deadline(self) -> float | None:
        if self._watch.unanswered:
            return ANSWER_TIMEOUT
        return LAST_EVENT_TIMEOUT if self._watch.over else None

    async def _take(self, connection: ClientConnection, text: str | bytes) -> None:
        try:
            message = wire.decode(text)
            if message.event == "feed-status":
                self._screen.note(STALE if message.payload.get("status") == "stale" else CURRENT)
                return
            taken = self._watch.take(message)
        except BadRequest as error:
            # Left out, it shows as a gap, and the position is asked for again.
            self._screen.note(f"a message could not be read: {error}")
            return
        self._tell(taken)
        if taken.again is not None:
            raise _Lost(str(taken.again))
        for call in taken.calls:
            await connection.send(call.encode())
        if not self._watch.unanswered:
            self._served()

    def _tell(self, taken: Taken) -> None:
        for message in taken.show:
            self._screen.show(message)
        for note in taken.notes:
            self._screen.note(note)

    def _served(self) -> None:
        """Only a granted subscription counts: a gateway that cannot reach its Redis still opens connections."""
        self._serving = True
        if self._told_lost:
            self._told_lost = False
            self._waits = backoff()
            self._screen.note("connected again")

    async def _wait(self, why: str, after: float) -> None:
        if self._serving:
            self._serving, self._served_at = False, time.monotonic()
        without = time.monotonic() - self._served_at
        if without >= self._patience:
            raise Unreachable(f"no gateway at {self._url} for {without:.0f} s: {why}")
        if not self._told_lost:
            self._told_lost = True
            self._screen.note(f"no connection to {self._url} ({why}); trying for {self._patience:.0f} s")
        await asyncio.sleep(min(max(next(self._waits), after), self._patience - without))


def _retry_after(headers: Headers) -> float:
    """Seconds, bounded: whoever stands in between might ask for an hour. Nothing that is no number counts."""
    (text, *_) = [*headers.get_all("Retry-After"), ""]
    return min(float(text), LONGEST_ASKED) if text.isascii() and text.isdecimal() else 0.0
