"""What BullMQ's own hand does to a job, for tests of ours: take it, end it, look at it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import redis
from bullmq import Job, Queue, Worker

from jobcast.shared.events import JobCompleted, JobFailed, JobStarted
from jobcast.shared.journal import RedisJournal
from jobcast.shared.options import read_options
from jobcast.shared.queue import JobQueues
from jobcast.shared.redis import connect, connect_for_bullmq
from tests.contract.jobs import NOW


@dataclass
class Site:
    """One Redis, seen by the producer under test, by the journal, by BullMQ and by a plain client."""

    url: str
    queues: JobQueues
    journal: RedisJournal
    bullmq: Any
    behind: redis.Redis

    async def fields(self, job_id: str) -> dict[str, bytes]:
        return (await self.journal.read(job_id)).fields

    async def state(self, job_id: str) -> str:
        return (await self.fields(job_id))["state"].decode()

    async def kinds(self, job_id: str) -> list[str]:
        """The names of the recorded events, in order."""
        return [entry.wire.split(b'"')[1].decode() for entry in await self.journal.history(job_id)]

    async def kept(self, job_id: str, queue: str = "films") -> Any:
        """BullMQ's own record of the job, or None."""
        return await Job.fromId(self.queue(queue), job_id)

    def queue(self, name: str = "films") -> Any:
        return Queue(name, {"connection": self.bullmq})

    @asynccontextmanager
    async def taken(self, job_id: str, queue: str = "films") -> AsyncIterator[Any]:
        """A worker takes the next job, which must be this one, and tells the journal so."""
        worker = Worker(queue, None, {"connection": self.bullmq, "autorun": False, "lockDuration": 30000})
        job = await worker.getNextJob("token")
        assert job.id == job_id
        await self.journal.append(
            JobStarted(
                job_id=job_id, queue=queue, attempt=job.attemptsStarted, timestamp=NOW,
                queue_to_start_time=1, worker="w",
            )
        )  # fmt: skip
        yield job
        await worker.close(force=True)

    async def complete(self, job_id: str) -> None:
        async with self.taken(job_id) as job:
            await job.moveToCompleted({"ok": True}, "token")
            await self.journal.append(
                JobCompleted(
                    job_id=job_id, queue="films", attempt=job.attemptsStarted, timestamp=NOW, result={"ok": True},
                    processing_time=1, total_time=2,
                )
            )  # fmt: skip

    async def fail(self, job_id: str, *, final: bool = True) -> None:
        async with self.taken(job_id) as job:
            await job.moveToFailed(RuntimeError("disk full"), "token")
            await self.journal.append(
                JobFailed(
                    job_id=job_id, queue="films", attempt=job.attemptsStarted, timestamp=NOW, error="disk full",
                    attempts=1, max_attempts=2, final=final, processing_time=1,
                )
            )  # fmt: skip


Close = Callable[[], Any]


@asynccontextmanager
async def open_site(url: str, behind: redis.Redis) -> AsyncIterator[Site]:
    """Connect as a gateway does, for commands and for BullMQ apart."""
    commands, bullmq = connect(url, name="queues"), connect_for_bullmq(url, name="queues-bullmq")
    journal = RedisJournal(commands)
    yield Site(url, JobQueues(bullmq, journal), journal, bullmq, behind)
    await commands.aclose()
    await bullmq.aclose()


async def submit(site: Site, **opts: object) -> str:
    """A job; its id."""
    return (await site.queues.submit("films", "encode", {"film": 7}, read_options(opts))).job_id


async def fail(site: Site) -> str:
    """One that failed for good; its id."""
    job_id = await submit(site)
    await site.fail(job_id)
    return job_id
