"""Jobs that live through every fault: each event is offered with its key until the journal has it, and noted."""

import asyncio
import random
from collections.abc import Iterator
from typing import Final

import msgspec

from jobcast.shared.errors import Unavailable
from jobcast.shared.events import Event, JobStalled
from jobcast.shared.journal import RedisJournal
from jobcast.shared.journal.contract import Entry, Writer
from jobcast.shared.position import Position
from tests.gateway.events import common, completed, failed, logged, progressed, queued, started
from tests.soak.checker import Recorded, Truth

RATES: Final = (0.4, 4.0, 15.0, 40.0)
"""Events a second; in the slowest jobs nothing follows a lost event for seconds."""
BURSTS: Final = (20, 80, 300)
"""Events without a pause; the longest is more than the history holds."""
BRIEF: Final = 0.5
"""Seconds a brief job lives: it is over before anything is broken, and only its record says that it ever was."""
PAUSE: Final = 0.1
MOST_ATTEMPTS: Final = 50


class Publisher:
    """One job, from its first event to its last. ``truth`` is what the journal said it recorded."""

    def __init__(
        self, journal: RedisJournal, job_id: str, chance: random.Random, *, rate: float | None, brief: bool, queue: str
    ) -> None:
        self.job_id = job_id
        self.queue = queue
        self.brief = brief
        self.going = asyncio.Event()
        """Cleared, nothing more is appended until it is set again."""
        self.going.set()
        self.truth = Truth()
        self.oddities: list[str] = []
        """What the journal said that cannot be."""
        self.ended_at = 0.0
        """When its end was first offered, by the loop's clock."""
        self.events = 0
        self.repeated = 0
        self._journal = journal
        self._chance = chance
        self._rate = rate
        self._writer = Writer()
        self._attempt = 1
        self._last: Position | None = None

    async def run(self, ending: asyncio.Event, longest: float) -> None:
        """Live for a while, at most until ``ending``; then end as jobs do."""
        loop, rate = asyncio.get_running_loop(), self._rate or self._chance.choice(RATES)
        until = loop.time() + (BRIEF if self.brief else longest * self._chance.uniform(0.2, 1.2))
        for event in (queued(self.job_id), started(self.job_id)):
            await self._append(event)
        while loop.time() < until and not ending.is_set():
            for event in self._some():
                await self._append(event)
            pause = self._chance.expovariate(rate)
            await asyncio.sleep(min(pause, BRIEF) if self.brief else pause)
        end = self._chance.choice((completed, failed))
        await self._append(end(self.job_id, self._attempt))

    def _some(self) -> Iterator[Event]:
        """What happens next: nearly always one event."""
        job, chance = self.job_id, self._chance
        kind = chance.random()
        if kind < 0.7:
            yield progressed(job, chance.randrange(100), self._attempt, details="x" * chance.randrange(300))
        elif kind < 0.95:
            yield logged(job, "a line", self._attempt)
        elif kind < 0.97:
            for number in range(chance.choice(BURSTS)):
                yield progressed(job, number % 100, self._attempt)
        elif kind < 0.985:
            yield JobStalled(**common(job, self._attempt), last_seen=1, reason="nothing was heard of it")
            yield progressed(job, 1, self._attempt)
        elif self._attempt < MOST_ATTEMPTS:
            yield failed(job, self._attempt, final=False)
            self._attempt += 1
            yield queued(job, self._attempt)
            yield started(job, self._attempt)

    async def _append(self, event: Event) -> None:
        event = msgspec.structs.replace(event, queue=self.queue)
        key, tries = self._writer.key(), 0
        if event.terminal:
            self.ended_at = asyncio.get_running_loop().time()
        while True:
            await self.going.wait()
            tries += 1
            try:
                position = (await self._journal.append(event, key=key)).position
                break
            except Unavailable:
                self.repeated += 1
                await asyncio.sleep(PAUSE * self._chance.uniform(0.5, 1))
        self._note(position, Recorded(event.kind, event.terminal), doubtful=tries > 1)

    def _note(self, position: Position, recorded: Recorded, *, doubtful: bool) -> None:
        last, self._last = self._last, position
        self.events += 1
        if last is not None and last.epoch == position.epoch:
            if position.seq != last.seq + 1:
                self.oddities.append(f"the journal numbered what followed {last} {position}")
        else:
            if position.seq != 1:
                self.oddities.append(f"a life of the record began with {position}")
            if last is not None and doubtful:
                # Recorded and told perhaps, just before all was lost: its answer never came.
                self.truth.add(Position(last.epoch, last.seq + 1), recorded)
        self.truth.add(position, recorded)

    async def compare(self) -> None:
        """Take from the record where it ends, and hold what it still has of the job to what it said."""
        self.truth.final = (await self._journal.read(self.job_id)).position
        if self.truth.final is not None and self.truth.final != self._last:
            self.oddities.append(f"the record stands at {self.truth.final}, its last answer was {self._last}")
        self.oddities += [
            f"the history holds {name} at {seq}, which is not what was appended"
            for name, epoch, seq in map(_read, await self._journal.history(self.job_id))
            if (known := self.truth.event(Position(epoch, seq))) is None or known.name != name
        ]


class _Place(msgspec.Struct):
    seq: int
    epoch: str


_decode: Final = msgspec.json.Decoder(tuple[str, _Place]).decode


def _read(entry: Entry) -> tuple[str, str, int]:
    name, place = _decode(entry.wire)
    return name, place.epoch, place.seq
