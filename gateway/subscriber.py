"""The reading end of the feed: hiredis' parser fed straight from the socket, a whole read handed on at once.

redis-py opens the connection (TLS, unix sockets, authentication, database) and hands over its transport; its own way of
reading costs a coroutine and two time-outs for every message, which is most of what a message would cost.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import hiredis
from redis.asyncio.connection import AbstractConnection

Batch = Mapping[bytes, Sequence[bytes]]
"""What one read brought: the events of each channel, in order."""
LARGEST_BATCH: Final = 64 * 1024
"""Bytes handed on at once: what they make for one client may have to be kept for it, if it stops reading then."""
SLICE: Final = 16 * 1024
"""Bytes fed to the parser at once: it moves all that it still holds each time it has read a kibibyte of it."""
_MORE: Final = object()


class FeedLost(Exception):
    """The subscriber connection is gone, or does not answer any more."""


class Subscriber(asyncio.Protocol):
    """``deliver`` takes the events, ``answer`` everything else that Redis says."""

    def __init__(self, deliver: Callable[[Batch], None], answer: Callable[[Any], None]) -> None:
        self.heard = False
        """Whoever probes the connection sets it back: anything that comes shows that Redis is there."""
        self._deliver = deliver
        self._answer = answer
        self._batch: dict[bytes, list[bytes]] = {}
        self._size = 0
        self._parser = hiredis.Reader(notEnoughData=_MORE)
        self._transport: asyncio.Transport | None = None
        self._pack: Callable[..., list[bytes]] = lambda *_: []
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def attach(self, transport: asyncio.Transport, pack: Callable[..., list[bytes]]) -> None:
        self._transport, self._pack = transport, pack

    def send(self, *command: bytes) -> None:
        """Send a command; nothing waits for it, a probe notices what does not arrive."""
        # Whoever sends may run before whoever waits for the loss, and uvloop raises on a transport that is closed: an
        # error that is no loss would end the feed for good.
        if self._transport is not None and not self._lost.done():
            self._transport.write(b"".join(self._pack(*command)))

    async def lost(self) -> None:
        """Wait for the end of the connection.

        Raises:
            FeedLost: always, with the reason.
        """
        await self._lost

    def abort(self) -> None:
        """Drop the connection without waiting for a peer that may hang."""
        if self._transport is not None:
            self._transport.abort()
        if self._lost.done() and not self._lost.cancelled():
            # Looked at, or asyncio would complain that nobody did.
            self._lost.exception()

    def data_received(self, data: bytes) -> None:
        self.heard = True
        try:
            for start in range(0, len(data), SLICE):
                self._parser.feed(data, start, min(SLICE, len(data) - start))
                self._take()
            self._hand_on()
        except (hiredis.HiredisError, FeedLost) as error:
            self._end(error)

    def _take(self) -> None:
        gets = self._parser.gets
        while (reply := gets()) is not _MORE:
            if type(reply) is not list or reply[0] != b"message":
                # In the order in which Redis said it.
                self._hand_on()
                self._answer(reply)
                continue
            _, channel, event = reply
            events = self._batch.get(channel)
            if events is None:
                self._batch[channel] = [event]
            else:
                events.append(event)
            self._size += len(event)
            if self._size >= LARGEST_BATCH:
                self._hand_on()

    def _hand_on(self) -> None:
        if self._batch:
            batch, self._batch, self._size = self._batch, {}, 0
            self._deliver(batch)

    def eof_received(self) -> None:
        self._end(FeedLost("Redis closed the connection"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(FeedLost(f"the connection broke: {exc}"))

    def _end(self, error: Exception) -> None:
        if not self._lost.done():
            self._lost.set_exception(error if isinstance(error, FeedLost) else FeedLost(str(error)))


def take_over(
    connection: AbstractConnection, deliver: Callable[[Batch], None], answer: Callable[[Any], None]
) -> Subscriber:
    """Read a connection of redis-py ourselves from here on. Whoever opened it still disconnects it."""
    subscriber = Subscriber(deliver, answer)
    writer = connection._writer  # noqa: SLF001  it lends its transport no other way
    assert writer is not None, "it is connected"
    transport = writer.transport
    subscriber.attach(transport, connection.pack_command)  # type: ignore[arg-type]
    transport.set_protocol(subscriber)
    if transport.is_closing():
        subscriber.connection_lost(None)
    return subscriber
