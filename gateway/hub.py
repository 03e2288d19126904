"""Which channel is followed for whom: the first in follows it, the last out leaves it after a short linger."""

import asyncio
from typing import Final

from jobcast.gateway.cork import Cork
from jobcast.gateway.feed import Feed
from jobcast.gateway.metrics import Metrics
from jobcast.gateway.readings import Readings
from jobcast.gateway.subscriber import Batch
from jobcast.gateway.topic import Sink, Topic
from jobcast.shared.circuit import Circuits
from jobcast.shared.errors import Unavailable
from jobcast.shared.journal.contract import Journal, Reading
from jobcast.shared.keys import Keys
from jobcast.shared.position import Position

LINGER: Final = 2.0
"""Seconds a channel is kept after its last watcher: a page that reloads finds it still there."""


class Hub:
    """The channels of one gateway. :meth:`deliver` and :meth:`suspect` are the feed's calls."""

    def __init__(self, journal: Journal, keys: Keys, metrics: Metrics, linger: float = LINGER) -> None:
        self.journal = journal
        self.keys = keys
        self.metrics = metrics
        self.cork = Cork(metrics)
        self._readings = Readings(journal, metrics)
        self._linger = linger
        self._topics: dict[bytes, Topic] = {}
        self.feed: Feed | None = None
        self.circuits: Circuits | None = None
        """Where the state of a queue's circuit breaker is read; without it only changes are told."""

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

    def moved(self, job_id: str, sink: Sink) -> None:
        """The sink's client goes on by another connection."""
        topic = self._topics.get(self.keys.channel(job_id).encode())
        if topic is not None:
            topic.moved(sink)

    async def read(self, job_id: str, since: Position | None = None) -> Reading:
        """A job's record, and with ``since`` what was missed.

        Raises:
            Unavailable: the journal cannot be read.
        """
        if since is None:
            return await self._readings.read(job_id)
        self.metrics.readings.inc()
        return await self.journal.read(job_id, since)

    def deliver(self, batch: Batch) -> None:
        """Hand on what one read of Redis brought, in one write for each connection."""
        events = sum(map(len, batch.values()))
        self.metrics.received.inc(events)
        # One event alone has nothing to be joined with.
        self.cork.active = events > 1
        try:
            for channel, wires in batch.items():
                topic = self._topics.get(channel)
                if topic is not None:
                    topic.deliver(wires)
        finally:
            self.cork.flush()

    @property
    def stale(self) -> bool:
        """No feed: what anybody sees may be old."""
        return self.feed is not None and self.feed.status == "stale"

    def suspect(self) -> None:
        """Tell every sink that events may have been lost."""
        for topic in tuple(self._topics.values()):
            topic.suspect()

    def verify_job(self, job_id: str, position: Position) -> bool:
        """All events of the job up to there have come: False when one of them was not heard of; it is read then."""
        return self._verify(self.keys.channel(job_id), position)

    def verify_queue(self, queue: str, position: Position) -> bool:
        """The same with a queue."""
        return self._verify(self.keys.queue_channel(queue), position)

    def _verify(self, channel: str, position: Position) -> bool:
        topic = self._topics.get(channel.encode())
        return topic is None or topic.verify(position)

    def is_watched(self, job_id: str) -> bool:
        """Whether somebody watches the job by itself."""
        return self.keys.channel(job_id).encode() in self._topics

    def watched_jobs(self) -> list[str]:
        """All such jobs."""
        return [topic.job_id for topic in self._topics.values() if topic.job_id is not None]

    @property
    def watches_jobs(self) -> bool:
        """Whether there is one."""
        return any(topic.job_id is not None for topic in self._topics.values())

    async def _join(self, channel: bytes, job_id: str | None, sink: Sink) -> None:
        topic = self._topics.get(channel)
        if topic is None:
            assert self.feed is not None, "the app connects hub and feed before it serves"
            ready = self.feed.follow(channel)
            topic = self._topics[channel] = Topic(channel, job_id, ready, self.cork, self.metrics)
        if topic.leaving is not None:
            topic.leaving.cancel()
            topic.leaving = None
        topic.add(sink)
        if topic.ready.done() and not topic.ready.cancelled() and topic.ready.exception() is None:
            return
        try:
            # Others wait for the same: one that gives up must not take it from them.
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
