"""Batches of which some may fail, inside one job and as the children of one."""

from typing import Any

import pytest

from jobcast import Batch, Context, SyncContext, TooManyFailed
from jobcast.shared.errors import BadRequest
from jobcast.shared.events import JobCompleted, JobFailed
from jobcast.worker.family import Children
from tests.worker.conftest import Bench
from tests.worker.flows import node, percents, submit


def similarity(bench: Bench, done: list[str], *, early: bool = False) -> None:
    @bench.handler("similarity", "go")
    async def compare(ctx: Context) -> dict[str, Any]:
        batch = Batch(ctx, requested=len(ctx.data), early=early)
        for wallet in ctx.data:
            async with batch.item(wallet):
                done.append(wallet)
                if wallet.startswith("bad"):
                    raise ValueError(wallet)
        return batch.result()


# System 4: "tolerates failures up to a threshold (default: 80 % must succeed); its result lists requested, processed,
# failed, ..., the rate".
async def test_similarity_tolerates_failures_up_to_a_threshold_and_lists_what_was_requested_processed_and_failed(
    bench: Bench,
) -> None:
    similarity(bench, [])
    async with bench.worker():
        events = await bench.ended(await bench.submit(["a", "bad-1", "b", "c", "d"], "similarity"))
    last = events[-1]
    assert isinstance(last, JobCompleted)
    assert last.result == {
        "requested": 5,
        "processed": 4,
        "failed": 1,
        "rate": 0.8,
        "failures": {"bad-1": "ValueError: bad-1"},
    }


@pytest.mark.parametrize(("early", "looked_at"), [(False, 5), (True, 3)])
async def test_similarity_fails_when_fewer_succeed_at_the_end_or_as_soon_as_they_must(
    bench: Bench, early: bool, looked_at: int
) -> None:
    done: list[str] = []
    similarity(bench, done, early=early)
    async with bench.worker():
        events = await bench.ended(await bench.submit(["bad-1", "a", "bad-2", "b", "c"], "similarity", attempts=3))
    last = events[-1]
    assert isinstance(last, JobFailed)
    assert (last.final, last.attempt, len(done)) == (True, 1, looked_at)
    assert last.error.startswith("TooManyFailed: 2 of 5 failed, ")
    assert last.error.endswith("at least 80% must succeed")


# System 2: "`bulk-sync` (many users, progress after each)".
async def test_bulk_sync_tells_progress_after_each_user(bench: Bench) -> None:
    @bench.handler("orders", "bulk-sync")
    def bulk_sync(ctx: SyncContext) -> dict[str, Any]:
        batch = Batch(ctx, requested=len(ctx.data), threshold=0)
        for user in ctx.data:
            with batch.sync_item(user):
                ctx.progress(batch.percent, stage=user)  # a change of stage is told at once
                if user == "bob":
                    raise ConnectionError("the exchange is away")
        return batch.result()

    async with bench.worker():
        events = await bench.ended(await bench.submit(["ann", "bob", "cid", "dan"], "orders", "bulk-sync"))
    assert {0.0, 25.0, 50.0, 75.0} <= set(percents(events))
    last = events[-1]
    assert isinstance(last, JobCompleted)
    assert (last.result["processed"], last.result["failed"]) == (3, 1)


@pytest.mark.parametrize(("bad", "completes"), [(1, True), (2, False)])
async def test_the_children_of_a_parent_may_fail_up_to_a_threshold(bench: Bench, bad: int, completes: bool) -> None:
    @bench.handler("work", "go")
    async def go(ctx: Context) -> str:
        if ctx.data == "bad":
            raise ValueError("bad")
        return ctx.job_id

    @bench.handler("top", "go")
    async def top(ctx: Context) -> dict[str, Any]:
        return Batch.of(await ctx.children()).result()

    kinds = ["bad"] * bad + ["good"] * (5 - bad)
    added = await submit(
        bench, node("top", "go", *(node("work", data=kind, ignoreDependencyOnFailure=True) for kind in kinds))
    )
    async with bench.worker():
        last = (await bench.ended(added.job_id))[-1]
    if completes:
        assert isinstance(last, JobCompleted)
        failed = {child.job_id: "ValueError: bad" for child in added.children[:bad]}
        assert last.result == {"requested": 5, "processed": 4, "failed": 1, "rate": 0.8, "failures": failed}
    else:
        assert isinstance(last, JobFailed)
        assert last.error == "TooManyFailed: 2 of 5 failed, 3 succeeded; at least 80% must succeed"


def test_a_batch_is_bounded_and_checks_what_it_is_told() -> None:
    many = Children({}, {f"job-{number}": "x" * 10_000 for number in range(1000)})
    with pytest.raises(TooManyFailed) as caught:
        Batch.of(many).result()
    assert caught.value.result["failed"] == 1000
    assert len(caught.value.result["failures"]) == 100
    assert sum(map(len, caught.value.result["failures"].values())) < 100 * 400
    assert Batch.of(Children()).result()["rate"] == 1.0
    for wrong in ({"requested": 1, "threshold": 1.1}, {"requested": -1}):
        with pytest.raises(BadRequest):
            Batch(None, **wrong)


@pytest.mark.parametrize(("requested", "threshold", "may_fail"), [(10, 0.8, 2), (3, 0.8, 0), (7, 0.7, 2), (10, 0.1, 9)])
def test_a_threshold_is_reached_exactly(requested: int, threshold: float, may_fail: int) -> None:
    batch = Batch(None, requested=requested, threshold=threshold)
    for number in range(may_fail):
        batch.fail(number, "no")
    assert batch.can_succeed
    batch.processed = requested - may_fail
    assert batch.result()["failed"] == may_fail
    batch.fail("one more", "no")
    assert not batch.can_succeed
