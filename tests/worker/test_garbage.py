"""What is left of jobs that are over: nothing that only the collector would free."""

import asyncio
import gc
import time
from collections.abc import Callable
from typing import Any

import pytest

from jobcast import Context, SyncContext
from jobcast.shared.options import Backoff
from jobcast.worker.reporter import AttemptReporter
from jobcast.worker.run import Run
from jobcast.worker.taken import TakenJob
from tests.support.waiting import wait_until
from tests.worker.conftest import Bench

KINDS = (TakenJob, Run, AttemptReporter, Context)


def alive() -> list[object]:
    return [each for each in gc.get_objects() if isinstance(each, KINDS)]


async def tells(ctx: Context) -> int:
    for percent in range(0, 101, 20):
        await ctx.progress(percent)
    await ctx.log("done")
    return 1


async def locks(ctx: Context) -> None:
    async with ctx.lock(f"lock:wallet:{ctx.job_id}"):
        await ctx.check_cancelled()


async def fails(ctx: Context) -> None:
    raise ValueError(f"no luck with {ctx.job_id}")


async def overstays(_: Context) -> None:
    await asyncio.sleep(60)


def in_a_thread(ctx: SyncContext) -> None:
    ctx.progress(50)
    time.sleep(0.01)


@pytest.mark.parametrize("handler", [tells, locks, fails, overstays, in_a_thread])
async def test_a_job_that_is_over_is_freed_without_the_collector(
    bench: Bench, no_collector: None, handler: Callable[..., Any]
) -> None:
    # Held on to, so that no new one has its identity: an earlier test may have left some.
    earlier = alive()
    known = {id(each) for each in earlier}
    bench.handler(timeout=0.2)(handler)
    async with bench.worker():
        for job_id in [await bench.submit({"n": n}, attempts=2, backoff=Backoff("fixed", 10)) for n in range(5)]:
            await bench.ended(job_id)
        await wait_until(lambda: all(id(each) in known for each in alive()), 3, "everything to be freed")
