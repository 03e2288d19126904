"""Takes jobs of one queue out of BullMQ: asks its circuit, its delays, its rate limit, its marker. One at a time."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from bullmq import Job, Worker
from redis.asyncio import Redis

from jobcast.shared.redis import unavailable
from jobcast.shared.supervise import wait_for_event
from jobcast.shared.throughput import MINUTES_COUNTED
from jobcast.worker import record
from jobcast.worker.breaker import Guard, Outcome
from jobcast.worker.queues import QueueDefinition
from jobcast.worker.taken import TakenJob

LONGEST_BLOCK: Final = 10.0
"""Seconds of one blocking wait, well below the connection's read time-out."""
SHORTEST_BLOCK: Final = 0.002
CIRCUIT_LOOK: Final = 0.5
"""Seconds between two looks, at most, whether a circuit that is not closed lets a job through."""


class Taker:
    """``lock`` and ``idle`` in seconds, as in the consumer's ``Timing``. Waits end when ``no_more`` is set."""

    def __init__(  # noqa: PLR0913  what one queue is taken from with
        self,
        client: Redis,
        definition: QueueDefinition,
        no_more: asyncio.Event,
        *,
        prefix: str,
        lock: float,
        idle: float,
        guard: Guard | None,
    ) -> None:
        self.worker = self._lend(client, definition, prefix, lock)
        self._definition = definition
        self._no_more = no_more
        self._lock = round(lock * 1000)
        self._idle = idle
        self._guard = guard
        self._read_record = record.reader(Job, self.worker)
        self._tokens = itertools.count(1)
        self._drained = False
        self._due = 0

    @staticmethod
    def _lend(client: Redis, definition: QueueDefinition, prefix: str, lock: float) -> Any:
        options: dict[str, Any] = {
            "connection": client,
            "prefix": prefix,
            "autorun": False,
            "lockDuration": round(lock * 1000),
            "metrics": {"maxDataPoints": MINUTES_COUNTED},
        }
        if definition.limiter is not None:
            options["limiter"] = {"max": definition.limiter.count, "duration": definition.limiter.duration}
        return Worker(definition.name, None, options)

    def brings_next(self) -> bool:
        """Whether the end of a job may bring the next one. A circuit must be asked before each."""
        return self._guard is None and not self._no_more.is_set()

    async def connect(self) -> None:
        """Ask for the server's version: until then BullMQ rounds every wait up to whole seconds."""
        backend = self.worker.backend
        with unavailable():
            for connection in (backend.connection, backend.blocking_connection):
                await connection.getRedisVersion()

    async def take(self) -> TakenJob | None:
        """A job, or None after having waited for one: for the circuit, the marker, a delay or the rate limit."""
        if self._drained and not await self._wait_for_marker():
            return None
        token = f"{self.worker.id}:{next(self._tokens)}"
        if self._guard is None:
            return await self._take_as(token)
        entry = await self._guard.enter(token)
        if not entry.may_take:
            self._drained = False  # the marker may be used up: what waits must be looked for without one
            await wait_for_event(self._no_more, min(entry.wait, CIRCUIT_LOOK))
            return None
        job = None
        try:
            job = await self._take_as(token)
        finally:
            if job is None and entry.probe:
                await self._guard.report(token, "none")
        return job

    async def _take_as(self, token: str) -> TakenJob | None:
        with unavailable():
            data, job_id, limited, due = await self.worker.backend.moveToActive(token, self.worker.opts)
        self._drained = not data
        self._due = int(due or 0)
        if data:
            return self.read(data, job_id, token)
        if limited and limited > 0:
            # Asking again once the limit is over is what keeps its rate; waiting for a marker would starve it.
            self._drained = False
            await wait_for_event(self._no_more, limited / 1000)
        return None

    def read(self, data: dict[str, str], job_id: str, token: str) -> TakenJob:
        """A job of BullMQ's record of it; what cannot be read is a job that is to fail for that."""
        try:
            raw = self._read_record(data, job_id)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            # Dropped here it would stay active without a worker, stall, come back, and so for ever.
            raw = Job(self.worker, str(data.get("name")), None, {}, job_id)
            raw.attemptsStarted = _attempts(data.get("ats"))
            raw.deferredFailure = f"the job's record cannot be read: {error}"
        return TakenJob(raw, self.worker.backend, self._definition, token, lock=self._lock)

    async def report(self, job: TakenJob) -> None:
        """Tell the circuit, where there is one, what became of a job; never raises."""
        if self._guard is None:
            return
        kind, error = job.verdict or ("", "")
        breaker = self._definition.breaker
        counts = breaker is not None and kind not in breaker.not_counted
        outcome: Outcome = "none" if job.verdict is None or not counts else "failure" if kind else "success"
        await self._guard.report(job.token, outcome, f"job {job.id}: {error}" if error else "")

    async def _wait_for_marker(self) -> bool:
        """Block until BullMQ says that there may be a job, or the next delayed one is due. True: look now."""
        ahead = (self._due - time.time() * 1000) / 1000
        block = min(max(ahead, SHORTEST_BLOCK), LONGEST_BLOCK) if self._due else self._idle
        with unavailable():
            found = await self.unless_stopped(self.worker.backend.waitForJob(block))
            if self._no_more.is_set():
                # The marker may have come with the answer nobody waits for: without it the next worker sleeps on.
                await self.worker.backend.conn.zadd(self.worker.backend.keys["marker"], {"0": 0})
                return False
        self._due = int(float(found[2])) if found else 0
        return self._due <= time.time() * 1000

    async def unless_stopped(self, waiting: Awaitable[Any]) -> Any:
        """The answer, or None once no more jobs are to be taken."""
        task = asyncio.ensure_future(waiting)
        stop = asyncio.create_task(self._no_more.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            for each in (task, stop):
                each.cancel()
            await asyncio.wait({task, stop})


def _attempts(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdecimal() else 1


def reader(handle: Any, definition: QueueDefinition) -> Callable[[dict[str, str], str], TakenJob]:
    """Makes a job of BullMQ's record of it and its id, where it is another's: it can be looked at, and not moved."""
    return lambda data, job_id: TakenJob(Job.fromJSON(handle, data, job_id), handle.backend, definition, token="")
