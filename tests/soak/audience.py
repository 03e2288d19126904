"""All jobs and all who watch them, and whether everyone has been told everything."""

import asyncio
import contextlib
import math
import random
from collections.abc import AsyncIterator, Sequence
from typing import Final

from jobcast.shared.errors import Unavailable
from jobcast.shared.journal import RedisJournal
from jobcast.shared.position import Position
from jobcast.shared.redis import connect
from tests.soak import resuming
from tests.soak.checker import violations
from tests.soak.publishing import Publisher
from tests.soak.queue_checker import queue_violations
from tests.soak.queue_watching import OfQueue, queue_client
from tests.soak.resuming import Resuming

WATCHERS: Final = 8
"""Clients of each job: two of each door, where there are four."""
BRIEF: Final = 3
"""One job in so many is brief. Where nothing is ever published again, nothing but a look at the record finds a loss."""
JOBS_A_QUEUE: Final = 4
"""A queue's watcher is told as much as four of a job: the process they all share keeps up."""
WATCHES_QUEUE: Final = 10
"""One client in so many watches a whole queue, where some do."""
LOOK: Final = 0.02
ASK: Final = 0.25
"""Seconds between two looks at the record: an emptied one may have begun anew."""
ENDING_WITHIN: Final = 30.0


class Audience:
    """The clients of some jobs, and the jobs' publishers."""

    def __init__(self, journal: RedisJournal, publishers: Sequence[Publisher], clients: Sequence[Resuming]) -> None:
        self.publishers = publishers
        self.clients = clients
        self._journal = journal
        self._ending = asyncio.Event()
        self._publishing: list[asyncio.Task[None]] = []
        self._watching: list[asyncio.Task[None]] = []

    def begin(self, seconds: float, *, lasting: bool = False) -> None:
        """Some of the clients ask for their job before it exists.

        Jobs live about so long; with ``lasting`` every second one until :meth:`all_over`.
        """
        self._watching = [asyncio.create_task(each.run()) for each in self.clients]
        self._publishing = [
            asyncio.create_task(each.run(self._ending, math.inf if lasting and number % 2 == 0 else seconds))
            for number, each in enumerate(self.publishers)
        ]

    def check(self) -> None:
        """Raise what broke a client or a publisher, which is no violation but a fault of the harness."""
        for task in self._publishing + self._watching:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error

    @property
    def events(self) -> int:
        """Recorded so far."""
        return sum(each.events for each in self.publishers)

    def hold(self) -> None:
        """Nothing more is published; what is under way may still land."""
        for publisher in self.publishers:
            publisher.going.clear()

    def go_on(self) -> None:
        for publisher in self.publishers:
            publisher.going.set()

    async def all_over(self) -> None:
        """Let every job end; the record is asked for its last word."""
        self._ending.set()
        async with asyncio.timeout(ENDING_WITHIN):
            await asyncio.gather(*self._publishing)
            for publisher in self.publishers:
                await publisher.compare()

    async def until_level(self, timeout: float) -> float | None:
        """The seconds until all are connected and told what the record holds now; None when it takes too long."""
        loop = asyncio.get_running_loop()
        start = next_look = loop.time()
        goals: dict[str, Position | None] = {}
        while (now := loop.time()) < start + timeout:
            self.check()
            if now >= next_look:
                goals, next_look = await self._goals(goals), now + ASK
            if goals and not self.behind(goals):
                return now - start
            await asyncio.sleep(LOOK)
        return None

    def behind(self, goals: dict[str, Position | None]) -> list[Resuming]:
        return [each for each in self.clients if not (each.present and _is_there(each.position, goals[each.goal]))]

    async def _goals(self, before: dict[str, Position | None]) -> dict[str, Position | None]:
        """A goal stays where it was, or nobody would reach it; a new life of the record is a new goal."""
        jobs = [publisher.job_id for publisher in self.publishers]
        queues = sorted({publisher.queue for publisher in self.publishers})
        try:
            readings = await self._journal.read_many(jobs)
            places = await self._journal.queue_positions(queues)
        except Unavailable:
            return before
        found = {job_id: reading.position for job_id, reading in zip(jobs, readings, strict=True)}
        found.update({f"queue {queue}": place for queue, place in zip(queues, places, strict=True)})
        return {job_id: _stay(before.get(job_id), position) for job_id, position in found.items()}

    def violations(self) -> list[str]:
        """Everybody's, and what the journal itself did wrong."""
        truths = {publisher.job_id: publisher.truth for publisher in self.publishers}
        found = [f"{each.job_id}: {said}" for each in self.publishers for said in each.oddities]
        for number, each in enumerate(self.clients):
            about = f"client {number} ({each.door}) of {each.job_id} "
            if isinstance(each, OfQueue):
                jobs = {its.job_id: its for its in self.publishers if its.queue == each.queue}
                own = {job_id: its.truth for job_id, its in jobs.items()}
                ended = {job_id: its.ended_at for job_id, its in jobs.items()}
                found += [about + said for said in queue_violations(each.queue_log, own, ended)]
                continue
            found += [about + said for said in violations(each.log, truths[each.job_id], classic=each.classic)]
        return found

    async def leave(self) -> None:
        tasks = self._watching + self._publishing
        async with asyncio.timeout(ENDING_WITHIN):
            while under_way := [task for task in tasks if not task.done()]:
                # More than once: a call of redis-py swallows a cancellation now and then, and the task goes on.
                for task in under_way:
                    task.cancel()
                await asyncio.wait(under_way, timeout=0.5)
        await asyncio.gather(*tasks, return_exceptions=True)


def _is_there(position: Position | None, goal: Position | None) -> bool:
    if position is None or goal is None:
        return position == goal
    return position.epoch == goal.epoch and position.seq >= goal.seq


def _stay(before: Position | None, now: Position | None) -> Position | None:
    return before if before and now and before.epoch == now.epoch else now


def _queue(number: int) -> str:
    return f"queue-{number // JOBS_A_QUEUE}"


@contextlib.asynccontextmanager
async def audience(
    redis_url: str,
    urls: Sequence[str],
    clients: int,
    seed: int,
    *,
    doors: Sequence[type[Resuming]] = resuming.DOORS,
    rate: float | None = None,
    queues: bool = False,
) -> AsyncIterator[Audience]:
    """So many clients, ``WATCHERS`` for each job; a job does something ``rate`` times a second, or as chance has it."""
    redis = connect(redis_url, name="soak")
    journal = RedisJournal(redis)
    jobs = [f"job-{number}" for number in range(-(-clients // WATCHERS))]
    publishers = [
        Publisher(
            journal,
            job,
            random.Random(f"{seed}-{job}"),
            rate=rate,
            brief=number % BRIEF == BRIEF - 1,
            queue=_queue(number),
        )
        for number, job in enumerate(jobs)
    ]
    async with resuming.session() as sse:
        watching = [
            queue_client(each // WATCHES_QUEUE, _queue(each // WATCHERS), urls, seed, sse)
            if queues and each % WATCHES_QUEUE == WATCHES_QUEUE - 1
            else resuming.client(each, jobs[each // WATCHERS], urls, seed, sse, doors=doors)
            for each in range(clients)
        ]
        found = Audience(journal, publishers, watching)
        try:
            yield found
        finally:
            await found.leave()
            await redis.aclose()
