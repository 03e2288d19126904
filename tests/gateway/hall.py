"""Clients of one gateway that watch the same jobs, in a world that loses, repeats and delays.

Hub, topic, lane, client and outbox are the real ones; the record is the memory journal. What is asked of Redis, what it
answers and what it publishes wait until a step of the script lets them pass. Time stands still between the steps, so a
round takes a moment and always goes the same way.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from jobcast.gateway.feed import Feed
from jobcast.gateway.hub import Hub
from jobcast.gateway.metrics import Metrics
from jobcast.gateway.wire import parse
from jobcast.shared.errors import Refused
from jobcast.shared.journal import Journal, MemoryJournal
from jobcast.shared.journal.contract import Life
from jobcast.shared.keys import Keys
from jobcast.shared.position import Position
from jobcast.shared.states import TERMINAL
from tests.gateway.events import completed, failed, logged, progressed, queued, started
from tests.gateway.guest import JOBS, Guest
from tests.gateway.played import Slow, Wire

CLIENTS: Final = 3
KEYS: Final = Keys()
LONG: Final = 3.0
"""Seconds: longer than a channel lingers and a reader waits."""
SETTLED_WITHIN: Final = 200
"""Turns in which everything is let through."""


class Hall:
    """``run`` plays a script of random steps; then all is let through and the end of every ledger is checked."""

    def __init__(self, chance: random.Random, metrics: Metrics, seen: Counter[str]) -> None:
        self.chance = chance
        self.seen = seen
        self.lost = False
        self.last: dict[bytes, list[bytes]] = {}
        self.journal = MemoryJournal(Life(history=chance.randint(2, 12)), published=self._published)
        self.slow = Slow(self.journal)
        self.wire = Wire()
        self.attempts = dict.fromkeys(JOBS, 1)
        self.progress: set[Position] = set()
        self.hub = Hub(cast("Journal", self.slow), KEYS, metrics)
        self.hub.feed = cast("Feed", self.wire)
        self.guests = [Guest(self.hub, self.progress, self.seen) for _ in range(CLIENTS)]
        for guest in self.guests:
            for ledger in guest.ledgers.values():
                ledger.progress = self.progress

    def _published(self, job_id: str, _queue: str, wire: bytes, _queue_wire: bytes) -> None:
        message = parse(wire)
        assert message is not None
        assert message.position is not None
        if message.event_class == "progress":
            self.progress.add(message.position)
        self.wire.publish(KEYS.channel(job_id).encode(), wire)

    async def run(self, steps: int) -> None:
        weights = {
            self.happen: 12,
            self.redis_hears: 6,
            self.redis_looks: 5,
            self.answer_arrives: 5,
            self.deliver: 12,
            self.hear: 6,
            self.repeat: 1,
            self.cut: 0.5,
            self.suspect: 0.8,
            self.fail_reading: 0.5,
            self.forget: 0.2,
            self.watch_again: 1.5,
            self.leave: 0.6,
            self.come_anew: 0.6,
            self.break_off: 0.8,
            self.wait_long: 0.5,
        }
        for guest in self.guests:
            guest.watch("a")
        if self.chance.random() < 0.5:
            # Everybody is level when the first thing happens.
            await self._append(queued, "a")
            await self._append(started, "a")
            while await self._let_through():
                pass
        acts: list[Callable[[], Awaitable[None] | None]] = list(weights)
        for act in self.chance.choices(acts, list(weights.values()), k=steps):
            done = act()
            if done is not None:
                await done
            # How far the tasks come before the next thing happens is chance too.
            for _ in range(self.chance.randrange(3)):
                await asyncio.sleep(0)
        await self._settle()
        await self._check_end()

    # The jobs.

    async def happen(self) -> None:
        """Something happens to a job, or several things before anybody looks."""
        job = self.chance.choice("aaab")
        for _ in range(self.chance.choice((1, 1, 1, 2, 9))):
            make = self.chance.choices(
                (progressed, logged, started, completed, failed, queued), (10, 3, 3, 1, 1, 2), k=1
            )[0]
            await self._append(make, job)

    async def _append(self, make: Callable[..., Any], job: str) -> None:
        over = (await self.journal.read(job)).fields.get("state", b"").decode() in TERMINAL
        if make is queued and over:
            self.attempts[job] += 1
        text = {progressed: (50,), logged: ("a line of some length, to fill an outbox with",)}.get(make, ())
        try:
            await self.journal.append(make(job, *text, attempt=self.attempts[job]))
        except Refused:
            return
        self.seen["events"] += 1

    def forget(self) -> None:
        """Redis comes back empty: its connections are gone too."""
        self.journal.forget()
        self.attempts = dict.fromkeys(JOBS, 1)
        self.slow.fail()
        self.cut()
        self.last = {}
        self.seen["records lost"] += 1

    # Redis and the feed.

    def redis_hears(self) -> None:
        self.wire.heard_by_redis()

    async def redis_looks(self) -> None:
        await self.slow.look(self.chance.randrange(100))

    def answer_arrives(self) -> None:
        self.slow.arrive(self.chance.randrange(100))

    def fail_reading(self) -> None:
        self.seen["readings failed"] += self.slow.fail()

    def deliver(self) -> None:
        """One read of the connection: as many events as there are up to the next confirmation, or fewer."""
        batch: dict[bytes, list[bytes]] = {}
        for _ in range(self.chance.randint(1, 5)):
            if not self.wire.coming:
                break
            kind, channel, event = self.wire.coming.pop(0)
            if kind == "message":
                batch.setdefault(channel, []).append(event)
                continue
            self._hand_on(batch)
            batch = {}
            if kind == "subscribe":
                self.wire.confirm(channel)
        self._hand_on(batch)

    def _hand_on(self, batch: dict[bytes, list[bytes]]) -> None:
        if batch:
            self.last = batch
            self.hub.deliver(batch)
            self.seen["deliveries"] += 1

    def repeat(self) -> None:
        """What came last comes once more."""
        self.hub.deliver(self.last)

    def cut(self) -> None:
        self.wire.cut()
        self.lost = True
        self.seen["feeds lost"] += 1

    def suspect(self) -> None:
        """The feed is there again: everything that is wanted is followed, and nobody knows what was missed."""
        self.wire.heard_by_redis()
        while self.wire.coming:
            self.deliver()
        self.lost = False
        self.hub.suspect()
        self.seen["suspected"] += 1

    async def wait_long(self) -> None:
        """Until lingering channels are left and readers try again."""
        await asyncio.sleep(LONG)

    # The clients.

    def hear(self) -> None:
        guest = self.chance.choice(self.guests)
        guest.hear()
        if guest.client.closed:
            self._resume(guest)

    def watch_again(self) -> None:
        """On the same connection, from what it was told last: what was under way for the old watch is for nobody."""
        guest, job = self.chance.choice(self.guests), self.chance.choice(JOBS)
        self.seen["abandoned while being read"] += self._being_read(guest, job)
        guest.watch(job)
        self.seen["watched again"] += 1

    def leave(self) -> None:
        guest, job = self.chance.choice(self.guests), self.chance.choice(JOBS)
        self.seen["abandoned while being read"] += self._being_read(guest, job)
        guest.hang_up(job)
        guest.client.unwatch_job(job)
        while guest.hear():
            pass
        self.seen["left"] += 1

    def come_anew(self) -> None:
        """As a page that was loaded again, and knows nothing."""
        guest, job = self.chance.choice(self.guests), self.chance.choice(JOBS)
        guest.watch(job, anew=True)
        self.seen["watched anew"] += 1

    def break_off(self) -> None:
        self._resume(self.chance.choice(self.guests))

    def _resume(self, guest: Guest) -> None:
        """The connection breaks; the next one goes on from what was applied, the rest is gone with it."""
        watched = list(guest.client.jobs)
        for job in JOBS:
            self.seen["abandoned while being read"] += self._being_read(guest, job)
            guest.hang_up(job)
        guest.client.close("gone")
        guest.connect()
        for job in watched:
            guest.watch(job)
        self.seen["resumed"] += 1

    def _being_read(self, guest: Guest, job: str) -> bool:
        sink = guest.client.jobs.get(job)
        return sink is not None and sink.watch.phase == "reading"

    # The end.

    async def _settle(self) -> None:
        """All is mended, and everything comes through."""
        for guest in self.guests:
            for job in JOBS:
                if job not in guest.client.jobs:
                    guest.watch(job)
        if self.lost:
            # Only then: it would mend whatever else went wrong.
            self.suspect()
        for _ in range(SETTLED_WITHIN):
            while await self._let_through():
                pass
            # Whoever waits for its time has it now.
            await asyncio.sleep(LONG)
            if not await self._let_through() and self._level():
                return
        raise AssertionError("not everybody became level")

    async def _let_through(self) -> bool:
        """Whether there was anything."""
        self.wire.heard_by_redis()
        through = bool(self.wire.coming or self.slow.asked or self.slow.answered)
        while self.wire.coming:
            self.deliver()
        while self.slow.asked:
            await self.slow.look(0)
        while self.slow.answered:
            self.slow.arrive(0)
        for guest in self.guests:
            through = guest.hear() or through
        for _ in range(4):
            await asyncio.sleep(0)
        return through

    def _level(self) -> bool:
        return all(
            job in guest.client.jobs and guest.client.jobs[job].watch.phase == "live"
            for guest in self.guests
            for job in JOBS
        )

    async def _check_end(self) -> None:
        for job in JOBS:
            record = await self.journal.read(job)
            over = record.fields.get("state", b"").decode() in TERMINAL
            for guest in self.guests:
                ledger = guest.ledgers[job]
                assert ledger.position == record.position, f"{job}: told up to {ledger.position}, not {record.position}"
                assert ledger.over == over, f"{job}: its end was not told"

    async def close(self) -> None:
        for guest in self.guests:
            for job in JOBS:
                guest.hang_up(job)
            guest.client.close("gone")
        self.slow.fail()
        await asyncio.sleep(LONG)
