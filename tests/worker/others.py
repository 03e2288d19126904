"""Workers that tell BullMQ alone, and the part of one worker of ours that tells of what they did."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from bullmq import Queue, Worker

from jobcast.shared.keys import Keys
from jobcast.shared.parents import Parents
from jobcast.worker.amends import Amends, Repairs
from jobcast.worker.family import Family
from jobcast.worker.queues import QueueDefinition
from jobcast.worker.strangers import Strangers, Timing
from jobcast.worker.streams import Streams
from tests.worker.conftest import Bench

AT_SIGHT = Timing(grace=0.0)
TOLD = ["job-queued", "job-queue-to-start", "job-completed"]


@asynccontextmanager
async def others(bench: Bench, timing: Timing = AT_SIGHT) -> AsyncIterator[tuple[Strangers, Repairs]]:
    """Those of one worker of ours, for the queue ``work``, that look when they are told to."""
    repairs, family = Repairs(), Family(Parents(bench.client, bench.journal))
    streams = Streams(bench.commands, Keys(), "bull")
    amends = Amends(bench.journal, repairs, None, family)
    yield Strangers(streams, bench.journal, bench.queues, [QueueDefinition("work")], amends, timing), repairs
    await family.close()


async def added(bench: Bench, job_id: str, queue: str = "work", **opts: Any) -> Any:
    """A job of which its producer tells BullMQ alone."""
    return await Queue(queue, {"connection": bench.client}).add("go", {"n": 1}, {"jobId": job_id, **opts})


async def ended(bench: Bench, queue: str = "work", *, error: str | None = None) -> None:
    """The next job is run by a worker that tells BullMQ alone, to its end."""
    worker = Worker(queue, None, {"connection": bench.client, "autorun": False})
    job = await worker.getNextJob("token")
    assert job is not None
    if error is None:
        await job.moveToCompleted([7], "token")
    else:
        await job.moveToFailed(RuntimeError(error), "token")
    await worker.close(force=True)
