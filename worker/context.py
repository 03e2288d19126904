"""What a handler is given: the job's data, and the calls by which it tells how it goes."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from jobcast.shared.flow_tree import FlowJob
from jobcast.shared.queue import Submitted
from jobcast.worker.bridge import Blocking, Bridge
from jobcast.worker.cache import Cache
from jobcast.worker.dependency import FINAL, require
from jobcast.worker.family import Children, Kin
from jobcast.worker.locks import DEFAULT_TTL, JobLocks, Locks
from jobcast.worker.producer import Producer
from jobcast.worker.reporter import Attempt, AttemptReporter


@dataclass(frozen=True, slots=True)
class Means:
    """What the attempts of a process share."""

    locks: Locks
    producer: Producer
    cache: Cache


class About:
    """The job at hand. ``attempt`` counts every start of it from 1; ``max_attempts`` is how often it may fail."""

    data: Any
    _attempt: Attempt

    @property
    def job_id(self) -> str:
        return self._attempt.job_id

    @property
    def queue(self) -> str:
        return self._attempt.queue

    @property
    def name(self) -> str:
        return self._attempt.name

    @property
    def attempt(self) -> int:
        return self._attempt.number

    @property
    def max_attempts(self) -> int:
        return self._attempt.max_attempts


class Context(About):
    """For ``async def`` handlers. Every call raises ``Cancelled`` once the attempt is to end: let it pass."""

    def __init__(self, data: Any, reporter: AttemptReporter, locks: JobLocks, kin: Kin, means: Means) -> None:
        self.data = data
        self._means = means
        self._locks = locks
        self._kin = kin
        self._attempt = reporter.attempt
        self._reporter = reporter

    async def progress(
        self, value: Any, stage: str | None = None, details: Any = None, eta: float | None = None
    ) -> None:
        """See :meth:`AttemptReporter.progress`."""
        await self._reporter.progress(value, stage, details, eta)

    async def log(self, line: str, level: str | None = None) -> None:
        """See :meth:`AttemptReporter.log`."""
        await self._reporter.log(line, level)

    async def check_cancelled(self) -> None:
        """See :meth:`AttemptReporter.check_cancelled`."""
        await self._reporter.check_cancelled()

    @asynccontextmanager
    async def lock(self, key: str, ttl: float = DEFAULT_TTL) -> AsyncIterator[None]:
        """Hold ``lock:<what>:<which>`` for the block: no other job has it meanwhile, whichever worker runs it.

        It is extended for as long as the block runs; ``ttl``, in seconds, is for how long it outlives a worker that
        dies. If it is lost all the same, the attempt is stopped and fails.

        Raises:
            LockHeld: another job has it. Let it pass: the job is tried again later.
            Unavailable: Redis is away.
        """
        await self._reporter.check_cancelled()
        async with self._locks.hold(key, ttl):
            yield

    async def children(self) -> Children:
        """What became of the jobs this one waited for, as a parent in a flow: results and failures by id.

        Raises:
            PayloadTooLarge: the results are more than 16 MiB together.
        """
        self._reporter.stop.check()
        return await self._kin.children()

    async def require(self, job_id: str, *, final: Collection[str] = FINAL) -> Any:
        """The result of another job, which must be completed before this one can go on.

        ``final``: the states of it, ``unknown`` among them, in which waiting is in vain.

        Raises:
            DependencyNotReady: it is not completed; the attempt fails, to be tried again.
            DependencyFailed: it is in one of the ``final`` states; the job fails for good.
            BadJobId: not a job's id.
        """
        self._reporter.stop.check()
        return await require(self._reporter.journal, job_id, final)

    async def cached(self, key: str, ttl: float, compute: Callable[[], Awaitable[Any]], *, fresh: bool = False) -> Any:
        """A result that is good for ``ttl`` seconds: the one kept under this key, by whichever job, or a new one.

        ``compute`` is called without arguments where there is none, or where it must be ``fresh``. What it returns is
        kept, and given back as JSON tells it: a tuple as a list. Over 1 MiB it is not kept; while Redis is away nothing
        is, and it is computed each time.

        Raises:
            BadRequest: no key (1 to 255 printable characters), a ``ttl`` of more than a week, or no JSON.
        """
        self._reporter.stop.check()
        cache = self._means.cache
        text = await cache.find(key, ttl, fresh=fresh) or await cache.keep(key, ttl, await compute())
        return msgspec.json.decode(text)

    async def submit(self, queue: str, name: str, data: Any = None, opts: Mapping[str, Any] | None = None) -> Submitted:
        """Add another job; see :meth:`Producer.submit`.

        This one may run again after it: give the other an id that is this job's own (``jobId``), and twice is once.
        """
        self._reporter.stop.check()
        return await self._means.producer.submit(queue, name, data, opts)

    async def submit_flow(self, tree: Mapping[str, Any]) -> FlowJob:
        """Add a job with those it waits for; see :meth:`Producer.submit_flow`.

        This job may run again after it. Give the flow's first job an id that is this job's own: the second time
        ``JobExists`` is raised with that id, nothing is added, and the handler can go on with the flow that is there.
        """
        self._reporter.stop.check()
        return await self._means.producer.submit_flow(tree)


class SyncContext(Blocking, About):
    """For plain functions, which run in a thread: the same calls, blocking.

    A thread cannot be stopped from outside: it hears of a cancel or a time-out at its next call here, so a handler
    that computes for long calls ``check_cancelled`` now and then. After a time-out its job is held until it ends, so
    that no second attempt runs beside the first: for as long as the time-out once more, at most ten minutes. One that
    still has not ended by then fails for good.
    """

    def __init__(self, bridge: Bridge, context: Context) -> None:
        super().__init__(bridge, context)
        self._context = context
        self.data = context.data
        self._locks = context._locks  # noqa: SLF001  one thing in two forms
        self._cache = context._means.cache  # noqa: SLF001  one thing in two forms
        self._attempt = context._attempt  # noqa: SLF001  one thing in two forms

    @contextmanager
    def lock(self, key: str, ttl: float = DEFAULT_TTL) -> Iterator[None]:
        """See :meth:`Context.lock`."""
        self.check_cancelled()
        held = self._bridge.call(self._locks.acquire(key, ttl))
        try:
            yield
        finally:
            self._bridge.call(self._locks.release(held))

    def children(self) -> Children:
        """See :meth:`Context.children`."""
        return self._bridge.call(self._context.children())

    def require(self, job_id: str, *, final: Collection[str] = FINAL) -> Any:
        """See :meth:`Context.require`."""
        return self._bridge.call(self._context.require(job_id, final=final))

    def submit(self, queue: str, name: str, data: Any = None, opts: Mapping[str, Any] | None = None) -> Submitted:
        """See :meth:`Context.submit`."""
        return self._bridge.call(self._context.submit(queue, name, data, opts))

    def submit_flow(self, tree: Mapping[str, Any]) -> FlowJob:
        """See :meth:`Context.submit_flow`."""
        return self._bridge.call(self._context.submit_flow(tree))

    def cached(self, key: str, ttl: float, compute: Callable[[], Any], *, fresh: bool = False) -> Any:
        """See :meth:`Context.cached`; ``compute`` is a plain function, called in this thread."""
        self.check_cancelled()
        cache, call = self._cache, self._bridge.call
        text = call(cache.find(key, ttl, fresh=fresh)) or call(cache.keep(key, ttl, compute()))
        return msgspec.json.decode(text)
