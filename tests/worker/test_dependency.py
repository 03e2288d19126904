"""Depending on another job without a flow."""

from typing import Any

import pytest

from jobcast import Context, DependencyNotReady, SyncContext
from jobcast.shared.events import JobCompleted, JobFailed
from jobcast.shared.options import Backoff
from tests.worker.conftest import Bench


# System 4: "An analysis may depend on a sync job and fails (to be tried again) until that is completed."
async def test_an_analysis_fails_to_be_tried_again_until_the_sync_job_it_depends_on_is_completed(bench: Bench) -> None:
    @bench.handler("analysis", "analyze-pnl")
    async def analyze(ctx: Context) -> Any:
        return {"from": await ctx.require(ctx.data["sync"])}

    @bench.handler("wallets", "sync-wallet")
    def sync(ctx: SyncContext) -> dict[str, int]:
        return {"transactions": 12}

    job = await bench.submit(
        {"sync": "sync_w1_7"}, "analysis", "analyze-pnl", attempts=50, backoff=Backoff("fixed", 50)
    )  # fmt: skip
    async with bench.worker():
        first = await bench.seen(job, "job-failed")
        assert isinstance(first, JobFailed)
        assert first.error.startswith("DependencyNotReady: job sync_w1_7 is unknown")
        assert not first.final
        await bench.submit(None, "wallets", "sync-wallet", job_id="sync_w1_7")
        last = (await bench.ended(job))[-1]
    assert isinstance(last, JobCompleted)
    assert last.result == {"from": {"transactions": 12}}


@pytest.mark.parametrize("state", ["failed", "cancelled"])
@pytest.mark.parametrize("plain", [False, True])
async def test_a_job_fails_for_good_with_the_one_it_depends_on(bench: Bench, state: str, plain: bool) -> None:
    if plain:

        @bench.handler("analysis", "go")
        def analyze_in_thread(ctx: SyncContext) -> Any:
            return ctx.require(ctx.data)

    else:

        @bench.handler("analysis", "go")
        async def analyze(ctx: Context) -> Any:
            return await ctx.require(ctx.data)

    @bench.handler("wallets", "fail")
    async def sync(ctx: Context) -> None:
        raise ValueError("no such wallet")

    other = await bench.submit(None, "wallets", "fail", delay=60_000 if state == "cancelled" else None)
    if state == "cancelled":
        await bench.queues.cancel(other)
    async with bench.worker():
        if state == "failed":
            await bench.ended(other)
        job = await bench.submit(other, "analysis", attempts=3)
        last = (await bench.ended(job))[-1]
    assert isinstance(last, JobFailed)
    assert (last.final, last.attempt) == (True, 1)
    assert last.error == f"DependencyFailed: job {other} is {state}, and this one depends on it"


async def test_the_job_says_in_which_states_waiting_is_in_vain(bench: Bench) -> None:
    seen: list[str] = []

    @bench.handler("analysis", "go")
    async def analyze(ctx: Context) -> Any:
        try:
            await ctx.require("failed-one", final=())
        except DependencyNotReady as error:
            seen.append(f"{error.job_id} {error.state} {error.retryable}")
        return await ctx.require("nowhere", final={"unknown"})

    @bench.handler("wallets", "go")
    async def sync(ctx: Context) -> None:
        raise ValueError

    async with bench.worker():
        await bench.ended(await bench.submit(None, "wallets", job_id="failed-one"))
        last = (await bench.ended(await bench.submit(None, "analysis", attempts=3)))[-1]
    assert seen == ["failed-one failed True"]
    assert isinstance(last, JobFailed)
    assert (last.final, last.error) == (True, "DependencyFailed: job nowhere is unknown, and this one depends on it")
