"""Adding jobs from Python: from a program of your own, and from a handler that has more to be done.

    async with Producer.connect("redis://127.0.0.1:6379") as jobs:
        await jobs.submit("emails", "send-invoices", {"customers": ["ada"]}, {"jobId": "invoices-7", "attempts": 5})

What is added is told in the journal at once, so it can be watched before a worker takes it. Options are in BullMQ's
words, as over HTTP.
"""

import os
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, TypeVar

from jobcast.shared.bulk import read_jobs
from jobcast.shared.flow_tree import FlowJob
from jobcast.shared.flows import JobFlows
from jobcast.shared.journal.contract import Journal, Life
from jobcast.shared.journal.redis import RedisJournal
from jobcast.shared.keys import Keys
from jobcast.shared.options import read_options
from jobcast.shared.queue import JobQueues, Submitted
from jobcast.shared.redis import connect, connect_for_bullmq
from jobcast.shared.schedule import Repeat, Schedule
from jobcast.shared.schedules import Schedules
from jobcast.shared.settings import load
from jobcast.worker.bridge import Bridge, in_a_thread
from jobcast.worker.errors import Cancelled

T = TypeVar("T")

CONNECTIONS: Final = 16
"""To Redis, for each of the two records; who finds none free waits, three seconds at most."""


class Producer:
    """Adds jobs to the queues of one Redis; made by :meth:`connect`. A handler has ``ctx.submit`` instead."""

    def __init__(self, queues: JobQueues, journal: Journal, keys: Keys | None = None) -> None:
        self._queues = queues
        self._flows = JobFlows(queues, journal)
        self._schedules = Schedules(queues, keys)
        self._over = False

    @classmethod
    @asynccontextmanager
    async def connect(cls, redis_url: str | None = None) -> "AsyncIterator[Producer]":
        """Without ``redis_url`` the settings of the environment hold. Redis is first asked when there is a job.

        Raises:
            BadSettings: a ``JOBCAST_`` variable that is none.
        """
        settings = load(os.environ)
        url = redis_url or settings.redis_url
        client = connect_for_bullmq(url, name="jobcast-producer", connections=CONNECTIONS)
        commands = connect(url, name="jobcast-producer", connections=CONNECTIONS)
        try:
            keys, life = Keys(settings.key_prefix), Life(settings.history, round(settings.life * 1000))
            journal = RedisJournal(commands, keys, life)
            queues = JobQueues(client, journal, prefix=settings.bullmq_prefix, keys=keys)
            producer = cls(queues, journal, keys)
            try:
                yield producer
            finally:
                producer._over = True
        finally:
            await client.aclose()
            await commands.aclose()

    def check_open(self) -> None:
        """Refuse what is asked after the block of :meth:`connect`: connections would be opened that nobody closes.

        Raises:
            RuntimeError: it has ended.
        """
        if self._over:
            raise RuntimeError("expected a call within the block of Producer.connect(), which has ended; open another")

    async def submit(self, queue: str, name: str, data: Any = None, opts: Mapping[str, Any] | None = None) -> Submitted:
        """Add a job. ``fresh`` of the answer is False when one of that ``jobId``, or of that ``deduplication``, stands.

        Raises:
            BadQueueName, BadJobId, BadRequest: refused before Redis.
            NotPossible: the id is that of a running job of another queue.
            Unavailable: nothing was queued, or it is not known whether it was: say it again under an id of its own.
        """
        self.check_open()
        return await self._queues.submit(queue, name, {} if data is None else data, read_options(opts))

    async def submit_many(self, queue: str, jobs: Sequence[Mapping[str, Any]]) -> list[Submitted]:
        """Add up to a thousand jobs ``{name, data?, opts?}`` of one queue, all or none; answers in their order.

        Raises as :meth:`submit` does; BadRequest says which of the jobs, from 0.
        """
        self.check_open()
        return await self._queues.submit_many(queue, read_jobs(jobs))

    async def submit_flow(self, tree: Mapping[str, Any]) -> FlowJob:
        """Add a job with those it waits for, ``{queue, name, data?, opts?, children?}``: all of it, or nothing.

        Raises as :meth:`submit` does; BadRequest says where in the tree. JobExists: one of its ids is taken in its
        queue; is that the first job's, then the flow was added before, for it was added whole.
        """
        self.check_open()
        return await self._flows.submit(tree)

    async def schedule(  # noqa: PLR0913  a schedule's words, each by its name
        self,
        queue: str,
        schedule_id: str,
        name: str,
        *,
        repeat: Repeat,
        data: Any = None,
        opts: Mapping[str, Any] | None = None,
    ) -> bool:
        """Have jobs made by interval or cron, in the place of the schedule of that id; False when it is there as it is.

        Raises:
            BadQueueName, BadRequest: refused before Redis.
            NotPossible: BullMQ still holds jobs of an earlier schedule of that id in the times to come.
            Unavailable: Redis is away; perhaps it was made. Twice is once.
        """
        self.check_open()
        data = {} if data is None else data
        planned = Schedule(queue=queue, id=schedule_id, name=name, repeat=repeat, data=data, opts=read_options(opts))
        return await self._schedules.upsert(planned)

    async def unschedule(self, queue: str, schedule_id: str) -> bool:
        """End a schedule and cancel its waiting job; one that runs is left to run. False when there was none."""
        self.check_open()
        return await self._schedules.remove(queue, schedule_id)


class SyncProducer:
    """:class:`Producer` for a plain program: the same calls, blocking, over an event loop in a thread."""

    def __init__(self, bridge: Bridge, producer: Producer) -> None:
        self._bridge = bridge
        self._producer = producer

    @classmethod
    @contextmanager
    def connect(cls, redis_url: str | None = None) -> "Iterator[SyncProducer]":
        """See :meth:`Producer.connect`."""
        with in_a_thread(Producer.connect(redis_url)) as (bridge, producer):
            yield cls(bridge, producer)

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        try:
            self._producer.check_open()
        except RuntimeError:
            coroutine.close()
            raise
        try:
            return self._bridge.call(coroutine)
        except Cancelled as error:
            raise RuntimeError("the block of SyncProducer.connect() ended; this call was done, or not") from error

    def submit(self, queue: str, name: str, data: Any = None, opts: Mapping[str, Any] | None = None) -> Submitted:
        """See :meth:`Producer.submit`."""
        return self._call(self._producer.submit(queue, name, data, opts))

    def submit_many(self, queue: str, jobs: Sequence[Mapping[str, Any]]) -> list[Submitted]:
        """See :meth:`Producer.submit_many`."""
        return self._call(self._producer.submit_many(queue, jobs))

    def submit_flow(self, tree: Mapping[str, Any]) -> FlowJob:
        """See :meth:`Producer.submit_flow`."""
        return self._call(self._producer.submit_flow(tree))

    def schedule(  # noqa: PLR0913  a schedule's words, each by its name
        self,
        queue: str,
        schedule_id: str,
        name: str,
        *,
        repeat: Repeat,
        data: Any = None,
        opts: Mapping[str, Any] | None = None,
    ) -> bool:
        """See :meth:`Producer.schedule`."""
        planned = self._producer.schedule(queue, schedule_id, name, repeat=repeat, data=data, opts=opts)
        return self._call(planned)

    def unschedule(self, queue: str, schedule_id: str) -> bool:
        """See :meth:`Producer.unschedule`."""
        return self._call(self._producer.unschedule(queue, schedule_id))
