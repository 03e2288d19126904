"""Which channel is followed for whom: the first in follows it, the last out leaves it after a short linger."""

import asyncio
from typing import Final, Protocol

from jobcast.gateway.feed import Feed
from jobcast.gateway.metrics import Metrics
from jobcast.gateway.wire import Message, parse
from jobcast.shared import logs
from jobcast.shared.errors import Unavailable
from jobcast.shared.journal.contract import Journal
from jobcast.shared.keys import Keys

LINGER: Final = 2.0
"""Seconds a channel is kept after its last watcher: a page that reloads finds it still there."""

log = logs.get("hub")


class Sink(Protocol):
    """Whoever wants the events of a channel. Both calls must return at once and keep what they cannot send."""

    def receive(self, message: Message) -> None: ...

    def suspect(self) -> None:
        """Events may have been lost: what was sent last must be compared with the record."""


class _Topic:
    __slots__ = ("channel", "leaving", "ready", "sinks")

    def __init__(self, channel: bytes, ready: "asyncio.Task[None]") -> None:
        self.channel = channel
        self.ready = ready
        # A dict for its order: watchers are served in the order they came.
        self.sinks: dict[Sink, None] = {}
        self.leaving: asyncio.TimerHandle | None = None


class Hub:
    """The channels of one gateway. :meth:`deliver` and :meth:`suspect` are the feed's two calls."""

    def __init__(self, journal: Journal, keys: Keys, metrics: Metrics, linger: float = LINGER) -> None:
        self.journal = journal
        self.keys = keys
        self.metrics = metrics
        self._linger = linger
        self._queue_channels = keys.queue_channel("").partition("}")[0].encode()
        self._topics: dict[bytes, _Topic] = {}
        self.feed: Feed | None = None

    def __len__(self) -> int:
        return len(self._topics)

    async def join(self, channel: str, sink: Sink) -> None:
        """Return once every later event of ``channel`` will reach ``sink``.

        Raises:
            Unavailable: Redis did not confirm in time; the sink is not joined.
        """
        key = channel.encode()
        topic = self._topics.get(key)
        if topic is None:
            assert self.feed is not None, "the app connects hub and feed before it serves"
            topic = self._topics[key] = _Topic(key, asyncio.create_task(self.feed.follow(key)))
        if topic.leaving is not None:
            topic.leaving.cancel()
            topic.leaving = None
        topic.sinks[sink] = None
        try:
            await asyncio.shield(topic.ready)
        except BaseException:
            dropped = topic.ready.cancelled()
            topic.sinks.pop(sink, None)
            if not topic.sinks:
                self._drop(topic)
            task = asyncio.current_task()
            if dropped and not (task and task.cancelling()):
                # Left while the feed was away, and the linger ended first: the caller was not cancelled.
                raise Unavailable("it was left again before Redis confirmed it; try again") from None
            raise

    def leave(self, channel: str, sink: Sink) -> None:
        """Take the sink out; nothing more reaches it."""
        topic = self._topics.get(channel.encode())
        if topic is None or sink not in topic.sinks:
            return
        del topic.sinks[sink]
        if topic.sinks:
            return
        topic.leaving = asyncio.get_running_loop().call_later(self._linger, self._drop, topic)

    def deliver(self, channel: bytes, data: bytes) -> None:
        """Hand an event to everyone on its channel; bytes that are no event are counted and kept out."""
        message = parse(data)
        if message is None:
            self.metrics.quarantined.inc()
            log.warning(
                "something that is no event was published and kept out", channel=channel.decode(errors="replace")
            )
            return
        if not self._belongs(channel, message):
            self.metrics.quarantined.inc()
            log.warning("an event was published on the channel of another job and kept out", job=message.job_id)
            return
        self.metrics.received.inc()
        topic = self._topics.get(channel)
        if topic is None:
            return
        for sink in tuple(topic.sinks):
            try:
                sink.receive(message)
            except Exception:
                # One watcher's fault is not the others' loss.
                self.metrics.sink_errors.inc()
                log.exception("a watcher failed to take an event", job=message.job_id)

    def _belongs(self, channel: bytes, message: Message) -> bool:
        return channel == self.keys.channel(message.job_id).encode() or channel.startswith(self._queue_channels)

    def suspect(self) -> None:
        """Tell every sink that events may have been lost."""
        for topic in tuple(self._topics.values()):
            for sink in tuple(topic.sinks):
                sink.suspect()

    def _drop(self, topic: _Topic) -> None:
        if topic.sinks or self._topics.get(topic.channel) is not topic:
            return
        del self._topics[topic.channel]
        topic.ready.cancel()
        if self.feed is not None:
            self.feed.unfollow(topic.channel)
