"""The jobs of the ``killing`` soak, as a module of a worker's user: each leaves one row, however often it is run."""

import asyncio
import os
import sqlite3
import time

from jobcast import Context, SyncContext, job
from jobcast.worker.queues import QueueDefinition
from jobcast.worker.registry import queue

QUEUE = "killing"

queue(QueueDefinition(QUEUE, concurrency=8, max_stalled_count=5))


@job(QUEUE, "upsert")
async def upsert(ctx: Context) -> int:
    """Report over some seconds, then write the row."""
    for step in range(4):
        await ctx.progress(25 * step)
        await asyncio.sleep(ctx.data["seconds"] / 4)
    await asyncio.to_thread(_write, ctx.job_id)
    return ctx.attempt


@job(QUEUE, "block-loop")
async def block_loop(ctx: Context) -> int:
    """What no handler should do: nothing else of this process runs meanwhile."""
    time.sleep(ctx.data["seconds"])  # noqa: ASYNC251  that is the fault
    return ctx.attempt


@job(QUEUE, "block-thread")
def block_thread(ctx: SyncContext) -> int:
    """Compute, and say nothing."""
    until = time.monotonic() + float(ctx.data["seconds"])
    while time.monotonic() < until:
        sum(range(10_000))
        time.sleep(0.001)
    return ctx.attempt


def _write(job_id: str) -> None:
    with sqlite3.connect(os.environ["KILLING_DATABASE"], timeout=30) as database:
        database.execute(
            "INSERT INTO effects (job_id, runs) VALUES (?, 1) ON CONFLICT (job_id) DO UPDATE SET runs = runs + 1",
            (job_id,),
        )
    database.close()
