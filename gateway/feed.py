"""The subscriber connection: Redis to hub, apart from the connection for commands.

A subscriber that reconnects by itself loses events without a word (redis-py's does: 437 of 478 in one overflow of the
server's output buffer). This one never does anything in silence: every new connection subscribes anew and then tells
the hub that all positions are suspect, so that what was missed is read from the journal. A hung Redis is noticed by a
round trip on this very connection.
"""

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Final, Literal

from redis.asyncio import Redis
from redis.exceptions import RedisError

from jobcast.gateway.subscriber import Batch, FeedLost, Subscriber, take_over
from jobcast.shared import logs
from jobcast.shared.errors import Unavailable
from jobcast.shared.redis import duplicate

PROBE_EVERY: Final = 0.5
MOST_UNANSWERED: Final = 4
"""A Redis that hangs is noticed within 2 to 2.5 s."""
CONNECT_DEADLINE: Final = 3.0
FOLLOW_DEADLINE: Final = 3.0
BACKOFF: Final = (0.1, 0.5)
"""A gateway is one client among Redis' many: to ask twice a second costs nothing, and everybody waits for it."""
BATCH: Final = 500
"""Channels in one SUBSCRIBE."""

log = logs.get("feed")
Status = Literal["alive", "catching-up", "stale"]


class Feed:
    """``deliver`` is called with what one read brought; :meth:`run` is a task.

    ``lost`` is called when a feed that was alive is so no more, ``found`` when there is one again.
    """

    def __init__(
        self,
        client: Redis,
        *,
        deliver: Callable[[Batch], None],
        lost: Callable[[], None],
        found: Callable[[], None],
    ) -> None:
        self._client = client
        self._deliver = deliver
        self._lost = lost
        self._found = found
        self._subscriber: Subscriber | None = None
        self._wanted: set[bytes] = set()
        self._unconfirmed: Counter[bytes] = Counter()
        self._waiters: dict[bytes, asyncio.Future[None]] = {}
        self._asked: deque[tuple[float, asyncio.Future[None]]] = deque()
        self._commands: list[tuple[bytes, bytes]] = []
        self._under_way = 0
        self._pings: deque[asyncio.Future[None] | None] = deque()
        """Who waits for the answer to each ping that is under way."""
        self._kick = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self.status: Status = "stale"
        self.losses = 0
        self.failures = 0

    def follow(self, channel: bytes) -> "asyncio.Future[None]":
        """Ends once Redis has confirmed that the channel's messages come here.

        Raises:
            Unavailable: (in the future) Redis did not confirm within the deadline.
        """
        waiter = self._waiters.get(channel)
        if waiter is None:
            loop = asyncio.get_running_loop()
            waiter = self._waiters[channel] = loop.create_future()
            self._asked.append((loop.time() + FOLLOW_DEADLINE, waiter))
            if len(self._asked) == 1:
                loop.call_at(self._asked[0][0], self._expire)
            self._wanted.add(channel)
            self._command(b"SUBSCRIBE", channel)
        return waiter

    def unfollow(self, channel: bytes) -> None:
        """Stop following; nothing waits for the confirmation."""
        self._wanted.discard(channel)
        if (waiter := self._waiters.pop(channel, None)) is not None:
            waiter.cancel()
        self._command(b"UNSUBSCRIBE", channel)

    async def barrier(self) -> None:
        """Return once everything has been delivered that was published before this was called.

        Raises:
            Unavailable: the feed is away or was lost meanwhile.
        """
        subscriber = self._subscriber
        if subscriber is None:
            raise Unavailable("the event feed from Redis is away; try again")
        answered = asyncio.get_running_loop().create_future()
        self._ping(subscriber, answered)
        await answered

    def _ping(self, subscriber: Subscriber, answered: "asyncio.Future[None] | None" = None) -> None:
        self._pings.append(answered)
        subscriber.send(b"PING")

    def _expire(self) -> None:
        """One timer for all who wait: they come in the order of their deadlines."""
        loop = asyncio.get_running_loop()
        while self._asked and (self._asked[0][0] <= loop.time() or self._asked[0][1].done()):
            _, waiter = self._asked.popleft()
            if not waiter.done():
                waiter.set_exception(Unavailable("the event feed from Redis is away; try again"))
        if self._asked:
            loop.call_at(self._asked[0][0], self._expire)

    async def run(self) -> None:
        """Keep the connection until cancelled: jittered back-off between attempts, no give-up. :meth:`stop` ends it."""
        self._task = asyncio.current_task()
        delay = BACKOFF[0]
        while True:
            started = asyncio.get_running_loop().time()
            try:
                try:
                    await self._live_once()
                finally:
                    self._close()
            except* (RedisError, OSError, FeedLost, EOFError) as group:
                log.warning("the feed from Redis was lost", reason=str(group.exceptions[0]), again_in=round(delay, 2))
            except* Exception as group:
                # A mistake of ours. Ended by it, the feed would leave a gateway that refuses everybody; the next
                # connection makes all positions suspect, so that nothing is missed by it either.
                self.failures += 1
                log.exception("the feed failed", exc_info=group, again_in=round(delay, 2))
            self._end_if_stopped()
            lasted = asyncio.get_running_loop().time() - started
            delay = BACKOFF[0] if lasted > BACKOFF[1] else min(delay * 2, BACKOFF[1])
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311  spreads reconnects, guards nothing

    def stop(self) -> None:
        """End :meth:`run`, also where its cancellation is swallowed: by redis-py while it connects, now and then, or by
        a group of tasks one of which fails in the same turn. A feed that went on would keep its gateway from ending.
        """
        self._stopped = True
        if self._task is not None:
            self._task.cancel()

    def _end_if_stopped(self) -> None:
        # Python 3.11 counts a cancellation of its own task groups as one of ours: Task.cancelling() says nothing.
        if self._stopped:
            raise asyncio.CancelledError

    async def _live_once(self) -> None:
        connection = duplicate(self._client, name="jobcast-feed")
        try:
            async with asyncio.timeout(CONNECT_DEADLINE):
                await connection.connect()  # type: ignore[no-untyped-call]
            self._end_if_stopped()
            await self._follow_all(take_over(connection, self._deliver, self._answer))
        finally:
            await connection.disconnect(nowait=True)

    async def _follow_all(self, subscriber: Subscriber) -> None:
        self._subscriber = subscriber
        self._commands = [(b"SUBSCRIBE", channel) for channel in self._wanted]
        self._unconfirmed = Counter(self._wanted)
        self._under_way = 0
        self.status = "catching-up"
        self._kick.set()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(subscriber.lost(), name="feed-read")
                group.create_task(self._write(subscriber), name="feed-write")
                group.create_task(self._probe(subscriber), name="feed-probe")
        finally:
            subscriber.abort()

    def _answer(self, response: Any) -> None:
        match response:
            case [b"subscribe", channel, _]:
                self._confirmed(channel)
                self._landed()
            case [b"unsubscribe", _, _]:
                self._landed()
            # A ping is answered in two shapes: with nothing subscribed it is a plain reply.
            case [b"pong", _] | b"PONG":
                self._pong()
            case Exception():
                raise FeedLost(f"Redis refused the subscription: {response}") from response

    def _pong(self) -> None:
        answered = self._pings.popleft() if self._pings else None
        if answered is not None and not answered.done():
            answered.set_result(None)
        if self.status == "catching-up" and not self._unconfirmed.total() and not self._commands:
            self.status = "alive"
            self._found()

    def _confirmed(self, channel: bytes) -> None:
        # Only the answer to the last SUBSCRIBE counts: an earlier one may have an UNSUBSCRIBE behind it.
        self._unconfirmed[channel] -= 1
        if self._unconfirmed[channel] > 0:
            return
        del self._unconfirmed[channel]
        waiter = self._waiters.get(channel)
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _landed(self) -> None:
        self._under_way -= 1
        if not self._under_way and self._commands:
            self._kick.set()

    def _command(self, verb: bytes, channel: bytes) -> None:
        if self._subscriber is not None:
            self._commands.append((verb, channel))
            if verb == b"SUBSCRIBE":
                # Counted when asked for, not when sent: the answer to the one before may come in between.
                self._unconfirmed[channel] += 1
            self._kick.set()

    async def _write(self, subscriber: Subscriber) -> None:
        """Send what is asked for, neighbours with the same verb in one command.

        What is asked for while a command is under way goes with the next one: a crowd that subscribes costs a write to
        Redis for each turn of Redis, and not for each client.
        """
        while True:
            await self._kick.wait()
            self._kick.clear()
            while self._commands and not self._under_way:
                verb = self._commands[0][0]
                neighbours = self._commands[:BATCH]
                run = next((i for i, (v, _) in enumerate(neighbours) if v != verb), len(neighbours))
                del self._commands[:run]
                self._under_way = run
                subscriber.send(verb, *(channel for _, channel in neighbours[:run]))
            if self.status == "catching-up" and not self._commands:
                # Answered after every confirmation before it: then all that is wanted is followed.
                self._ping(subscriber)

    async def _probe(self, subscriber: Subscriber) -> None:
        # Counted, not timed: while this process stood still (a suspended machine, a debugger) nothing was asked, and a
        # Redis that answers must not be left for it. Nor one whose answer stands behind much that is still to be read.
        unanswered = 0
        while True:
            await asyncio.sleep(PROBE_EVERY)
            if subscriber.heard:
                subscriber.heard, unanswered = False, 0
            if unanswered == MOST_UNANSWERED:
                raise FeedLost(f"no answer from Redis to {MOST_UNANSWERED} probes, one every {PROBE_EVERY} s")
            unanswered += 1
            self._ping(subscriber)

    def _close(self) -> None:
        self._subscriber = None
        was, self.status = self.status, "stale"
        self.losses += 1
        self._commands.clear()
        for answered in self._pings:
            if answered is not None and not answered.done():
                answered.set_exception(Unavailable("the event feed from Redis was lost; try again"))
        self._pings.clear()
        if was == "alive":
            self._lost()
