"""Which channel is followed for whom: the first in follows it, the last out leaves it after a short linger."""

import asyncio
from collections.abc import Sequence
from typing import Final

from jobcast.gateway.feed import Feed
from jobcast.gateway.metrics import Metrics
from jobcast.gateway.outlet import Cork
from jobcast.gateway.readings import Readings
from jobcast.gateway.topic import Sink, Topic
from jobcast.gateway.wire import Message, parse
from jobcast.shared import logs
from jobcast.shared.errors import Unavailable
from jobcast.shared.journal.contract import Journal, Reading
from jobcast.shared.keys import Keys
from jobcast.shared.position import Position

LINGER: Final = 2.0
"""Seconds a channel is kept after its last watcher: a page that reloads finds it still there."""

log = logs.get("hub")


class Hub:
    """The channels of one gateway. :meth:`deliver` and :meth:`suspect` are the feed's two calls."""

    def __init__(self, journal: Journal, keys: Keys, metrics: Metrics, linger: float = LINGER) -> None:
        self.journal = journal
        self.keys = keys
        self.metrics = metrics
        self.cork = Cork()
        self._readings = Readings(journal, metrics)
        self._linger = linger
        self._topics: dict[bytes, Topic] = {}
        self.feed: Feed | None = None

    def __len__(self) -> int:
        return len(self._topics)

    async def join_job(self, job_id: str, sink: Sink) -> None:
        """Return once every later event of the job will reach ``sink``.

        Raises:
            Unavailable: Redis did not confirm in time; the sink is not joined.
        """
        await self._join(self.keys.channel(job_id).encode(), job_id, sink)

    async def join_queue(self, queue: str, sink: Sink) -> None:
        """The same for every job of a queue."""
        await self._join(self.keys.queue_channel(queue).encode(), None, sink)

    def leave_job(self, job_id: str, sink: Sink) -> None:
        """Take the sink out; nothing more reaches it."""
        self._leave(self.keys.channel(job_id).encode(), sink)

    def leave_queue(self, queue: str, sink: Sink) -> None:
        """The same for a queue."""
        self._leave(self.keys.queue_channel(queue).encode(), sink)

    async def read(self, job_id: str, since: Position | None = None) -> Reading:
        """A job's record, and with ``since`` what was missed.

        Raises:
            Unavailable: the journal cannot be read.
        """
        if since is None:
            return await self._readings.read(job_id)
        self.metrics.readings.inc()
        return await self.journal.read(job_id, since)

    def deliver(self, batch: Sequence[tuple[bytes, bytes]]) -> None:
        """Hand on what one read of Redis brought, ``(channel, event)`` each, in one write for each connection."""
        self.metrics.received.inc(len(batch))
        if len(batch) == 1:
            ((channel, data),) = batch
            topic = self._topics.get(channel)
            if topic is not None and (message := self._read(topic, data)) is not None:
                topic.deliver((message,))
            return
        by_topic: dict[Topic, list[Message]] = {}
        for channel, data in batch:
            topic = self._topics.get(channel)
            if topic is not None and (message := self._read(topic, data)) is not None:
                messages = by_topic.get(topic)
                if messages is None:
                    by_topic[topic] = [message]
                else:
                    messages.append(message)
        self.cork.active = True
        try:
            for topic, messages in by_topic.items():
                topic.deliver(messages)
        finally:
            self.cork.flush()

    def suspect(self) -> None:
        """Tell every sink that events may have been lost."""
        for topic in tuple(self._topics.values()):
            topic.suspect()

    def _read(self, topic: Topic, data: bytes) -> Message | None:
        """The event; bytes that are no event of this channel are counted and kept out."""
        message = parse(data)
        if message is not None and (topic.job_id is None or topic.job_id == message.job_id):
            return message
        self.metrics.quarantined.inc()
        if message is None:
            log.warning(
                "something that is no event was published and kept out",
                channel=topic.channel.decode(errors="replace"),
            )
        else:
            log.warning("an event was published on the channel of another job and kept out", job=message.job_id)
        return None

    async def _join(self, channel: bytes, job_id: str | None, sink: Sink) -> None:
        topic = self._topics.get(channel)
        if topic is None:
            assert self.feed is not None, "the app connects hub and feed before it serves"
            ready = asyncio.create_task(self.feed.follow(channel))
            topic = self._topics[channel] = Topic(channel, job_id, ready, self.cork, self.metrics)
        if topic.leaving is not None:
            topic.leaving.cancel()
            topic.leaving = None
        topic.add(sink)
        try:
            await asyncio.shield(topic.ready)
        except BaseException:
            dropped = topic.ready.cancelled()
            topic.remove(sink)
            if not len(topic):
                self._drop(topic)
            task = asyncio.current_task()
            if dropped and not (task and task.cancelling()):
                # Left while the feed was away, and the linger ended first: the caller was not cancelled.
                raise Unavailable("it was left again before Redis confirmed it; try again") from None
            raise

    def _leave(self, channel: bytes, sink: Sink) -> None:
        topic = self._topics.get(channel)
        if topic is not None and topic.remove(sink) and not len(topic):
            topic.leaving = asyncio.get_running_loop().call_later(self._linger, self._drop, topic)

    def _drop(self, topic: Topic) -> None:
        if len(topic) or self._topics.get(topic.channel) is not topic:
            return
        del self._topics[topic.channel]
        topic.ready.cancel()
        if self.feed is not None:
            self.feed.unfollow(topic.channel)
