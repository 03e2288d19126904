"""What is done to a queue of ours by Bull Board's buttons, our worker heeds and the journal tells."""

import json

from jobcast.shared.events import JobCancelled
from jobcast.worker.context import Context
from jobcast.worker.reconciler import Timing
from tests.conftest import RunNode
from tests.worker.conftest import Bench

SOON = Timing(every=0.1, grace=0.2, gone_after=0.6)


async def test_system_2_and_5_bull_board_retries_promotes_removes_empties_pauses_and_resumes(
    bench: Bench, run_node: RunNode
) -> None:
    @bench.handler()
    async def go(ctx: Context) -> int:
        if ctx.data == {"fails": 1} and ctx.attempt == 1:
            raise OSError("disk full")
        return ctx.attempt

    async def press(*paths: str) -> None:
        done = await run_node("operate.js", bench.url, "work", *paths)
        assert done.exit_code == 0, done.stderr
        assert set(json.loads(done.stdout)) <= {200, 204}, done.stdout

    async with bench.worker(reconciling=SOON):
        failed, delayed = await bench.submit({"fails": 1}), await bench.submit(delay=600_000)
        await bench.ended(failed)
        await press(f"{failed}/retry", f"{delayed}/promote")
        assert (await bench.seen(failed, "job-completed")).attempt == 2
        await bench.seen(delayed, "job-completed")
        await press("pause")
        removed, emptied = await bench.submit(), await bench.submit()
        await press(f"{removed}/clean", "empty", "resume")
        last = await bench.seen(removed, "job-cancelled")
        await bench.seen(emptied, "job-cancelled")
        await bench.ended(await bench.submit())
    assert isinstance(last, JobCancelled)
    assert last.reason == "removed from its queue"
