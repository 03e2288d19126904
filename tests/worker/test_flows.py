"""Flows of parents and children across queues: added whole or not at all, told of, run, failed, cancelled."""

import asyncio
import json
from typing import Any

import pytest
from redis.asyncio.client import Pipeline
from redis.exceptions import ConnectionError as RedisConnectionError

from jobcast import Context, SyncContext, Unrecoverable
from jobcast.shared.errors import BadJobId, BadQueueName, BadRequest, Unavailable
from jobcast.shared.events import JobCompleted, JobFailed, JobQueued, JobStarted
from jobcast.shared.flow_tree import DEEPEST, MOST_JOBS, Flow, check_flow, read_flow
from jobcast.shared.flows import JobFlows
from jobcast.worker import reconciler
from tests.conftest import RunNode, StartRedis
from tests.worker.conftest import Bench, bench_at
from tests.worker.flows import counts, node, snapshot, submit


def exchange(**opts: Any) -> dict[str, Any]:
    return node(
        "reports", "aggregate-results",
        node("orders", "fetch-orders", data={"user": 7}, **opts),
        node("balances", "fetch-balances", data={"user": 7}),
    )  # fmt: skip


def handlers(bench: Bench) -> None:
    @bench.handler("orders", "fetch-orders")
    async def fetch_orders(ctx: Context) -> dict[str, Any]:
        await ctx.progress(50)
        return {"orders": [1, 2], "user": ctx.data["user"]}

    @bench.handler("balances", "fetch-balances")
    def fetch_balances(ctx: SyncContext) -> dict[str, Any]:
        return {"EUR": "12.50"}

    @bench.handler("reports", "aggregate-results")
    async def aggregate(ctx: Context) -> dict[str, Any]:
        children = await ctx.children()
        assert children.failures == {}
        return {"together": sorted(children.results.values(), key=str)}


# System 2: "Flow: `aggregate-results` waits for `fetch-orders` and `fetch-balances` on other queues".
async def test_aggregate_results_waits_for_fetch_orders_and_fetch_balances_on_other_queues(bench: Bench) -> None:
    handlers(bench)
    added = await submit(bench, exchange())
    orders, balances = added.children
    async with bench.worker():
        last = (await bench.ended(added.job_id))[-1]
        assert isinstance(last, JobCompleted)
        assert last.result == {"together": [{"EUR": "12.50"}, {"orders": [1, 2], "user": 7}]}
    ends = [(await bench.ended(child.job_id))[-1].timestamp for child in (orders, balances)]
    assert (await bench.seen(added.job_id, "job-queue-to-start")).timestamp >= max(ends) - 5
    events = await bench.events(added.job_id)
    born, moved = (event for event in events if isinstance(event, JobQueued))
    assert (born.leads_to, moved.leads_to) == ("waiting-children", "waiting")
    assert [event.attempt for event in events] == [1] * len(events)


async def test_every_job_of_a_flow_is_announced_when_it_is_added(bench: Bench) -> None:
    tree = node("a", "top", node("b", "middle", node("c", "leaf", delay=60_000, priority=3), weight=2.5), attempts=4)
    top = await submit(bench, tree)
    (middle,) = top.children
    (leaf,) = middle.children
    assert (top.queue, middle.name, leaf.children) == ("a", "middle", [])
    (said,) = await bench.events(top.job_id)
    assert isinstance(said, JobQueued)
    assert (said.max_attempts, said.parent_id, said.children and said.children.total) == (4, None, 1)
    (said,) = await bench.events(middle.job_id)
    assert isinstance(said, JobQueued)
    assert (said.parent_id, said.weight, said.leads_to) == (top.job_id, 2.5, "waiting-children")
    (said,) = await bench.events(leaf.job_id)
    assert isinstance(said, JobQueued)
    assert (said.parent_id, said.delay, said.priority, said.leads_to) == (middle.job_id, 60_000, 3, "delayed")
    assert await bench.client.zscore("bull:a:waiting-children", top.job_id)
    assert await bench.client.smembers(f"bull:b:{middle.job_id}:dependencies") == {f"bull:c:{leaf.job_id}"}
    shown = await snapshot(bench, top.job_id)
    assert (shown.state, shown.children) == (
        "waiting-children",
        {"total": 1, "waiting": 1, "active": 0, "completed": 0, "failed": 0, "cancelled": 0},
    )


def deep(levels: int) -> dict[str, Any]:
    tree = node("q")
    for _ in range(levels - 1):
        tree = node("q", "go", tree)
    return tree


WRONG = [
    (node("q", "go", node("q"), node("q", "go", node("no such queue!"))), BadQueueName, "children[1].children[0]: "),
    (node("q", "go", node("q", "\n")), BadRequest, "children[0]: expected a job name"),
    (node("q", "go", node("q", jobId="12")), BadJobId, "children[0]: expected an id BullMQ can keep"),
    (node("q", "go", node("q", jobId="x"), node("r", jobId="x")), BadRequest, "children[1]: job id x is that of"),
    (node("q", "go", node("q", delay=-1)), BadRequest, "children[0]: opts: Expected `int` >= 0"),
    (node("q", "go", node("q", weight=-1)), BadRequest, "children[0]: opts: Expected `float` >= 0"),
    (node("q", "go", node("q", nope=1)), BadRequest, "children[0]: opts: Object contains unknown field `nope`"),
    (node("q", "go", node("q", data=float("nan"))), BadRequest, "children[0]: its data cannot be written as JSON"),
    (node("q", "go", node("q", data={1, 2})), BadRequest, "children[0]: its data cannot be written as JSON"),
    (node("q", "go", node("q", deduplication={"id": "d"})), BadRequest, "children[0]: a job of a flow"),
    (
        node("q", "go", node("q", failParentOnFailure=True, ignoreDependencyOnFailure=True)),
        BadRequest,
        "children[0]: expected one of failParentOnFailure, ignoreDependencyOnFailure",
    ),
    (node("q", failParentOnFailure=True), BadRequest, "failParentOnFailure is for a job with a parent"),
    (node("q", weight=2), BadRequest, "weight is for a job with a parent"),
    (node("q", "go", node("q", childrenShare=0.5)), BadRequest, "children[0]: childrenShare is for"),
    ({"queue": "q", "name": "go", "child": []}, BadRequest, "expected only queue, name, data, opts and children"),
    ({"queue": "q", "name": "go", "children": {}}, BadRequest, "expected children as a list, got dict"),
    ({"queue": "q", "name": "go", "children": ["x"]}, BadRequest, "children[0]: expected an object"),
    ({"queue": "q", "name": "go", "opts": 3}, BadRequest, "expected opts as an object, got int"),
    (deep(DEEPEST + 1), BadRequest, "a flow has at most 10 generations"),
    (deep(5000), BadRequest, "a flow has at most 10 generations"),
    (node("q", "go", *([node("q")] * MOST_JOBS)), BadRequest, "a flow has at most 10000 jobs"),
]  # fmt: skip


@pytest.mark.parametrize(("tree", "error", "sentence"), WRONG, ids=[sentence for _, _, sentence in WRONG])
async def test_a_tree_is_checked_whole_before_redis_and_the_error_names_the_job(
    bench: Bench, tree: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    await bench.client.flushdb()
    with pytest.raises(error) as caught:
        await submit(bench, tree)
    assert sentence in str(caught.value)
    assert await bench.client.keys("*") == []


def test_a_tree_of_structs_is_checked_as_one_of_data_is() -> None:
    check_flow(read_flow(deep(DEEPEST)))
    with pytest.raises(BadRequest, match=r"children\[0\]: expected a job name"):
        check_flow(Flow("q", "go", children=[Flow("q", "")]))


async def test_an_id_that_is_taken_leaves_none_of_the_tree(bench: Bench) -> None:
    """BullMQ itself would hang the children on the job that is there, or leave out the child, without a word."""
    for there in ("q", "other"):
        await bench.client.flushdb()
        await bench.submit(queue=there, job_id="mine")
        before = sorted(await bench.client.keys("bull:*"))
        for tree in (node("q", "go", node("q"), jobId="mine"), node("q", "go", node("q"), node("q", jobId="mine"))):
            with pytest.raises(BadJobId, match="mine"):
                await submit(bench, tree)
        assert sorted(await bench.client.keys("bull:*")) == before


async def test_a_flow_whose_answer_was_lost_is_added_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection ends when Redis has taken the whole step and its answer is under way."""
    execute, lost = Pipeline._execute_transaction, list[bool]()

    async def losing(pipe: Any, connection: Any, commands: Any, raise_on_error: bool) -> Any:
        watching = pipe.watching
        answers = await execute(pipe, connection, commands, raise_on_error)
        if not lost and watching:
            lost.append(True)
            pipe.watching = True
            raise RedisConnectionError("the answer is gone")
        return answers

    monkeypatch.setattr(Pipeline, "_execute_transaction", losing)
    added = await submit(bench, node("q", "go", node("r"), node("r")))
    assert lost
    assert sorted(await bench.client.lrange("bull:r:wait", 0, -1)) == sorted(child.job_id for child in added.children)
    assert await bench.client.zrange("bull:q:waiting-children", 0, -1) == [added.job_id]


async def test_a_flow_that_does_not_fit_into_redis_leaves_nothing(start_redis: StartRedis) -> None:
    async with bench_at(start_redis().url) as bench:
        used = int((await bench.client.info("memory"))["used_memory"])
        await bench.client.config_set("maxmemory", used + 2_000_000)
        big = {"text": "x" * 50_000}
        with pytest.raises(Unavailable):
            await submit(bench, node("q", "go", *(node("q", data=big) for _ in range(100))))
        await bench.client.config_set("maxmemory", 0)
        jobs = [key for key in await bench.client.keys("bull:q:*") if len(key) == len("bull:q:") + 32]
        assert jobs == []
        await submit(bench, node("q", "go", node("q")))


async def test_a_flow_whose_announcement_was_lost_is_announced_by_whoever_runs_a_child(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as dead:
        dead.setattr(JobFlows, "_announce", _nothing)
        added = await submit(bench, node("a", "top", node("b", "middle", node("c", "go"), node("c", "go"), weight=3)))
    handlers_that_wait(bench, "c")
    (middle,) = added.children
    assert (await snapshot(bench, added.job_id)).state == "unknown"
    async with bench.worker():
        for job_id in (added.job_id, middle.job_id):
            first = await bench.seen(job_id, "job-queued")
            assert isinstance(first, JobQueued)
            assert first.leads_to == "waiting-children"
            assert first.parent_id == (None if job_id == added.job_id else added.job_id)
            assert first.weight == (None if job_id == added.job_id else 3)
        await bench.client.set("end", "1")


async def test_a_flow_of_which_nothing_runs_is_announced_by_the_workers_of_its_queue(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as dead:
        dead.setattr(JobFlows, "_announce", _nothing)
        added = await submit(bench, node("work", "go", node("nobody")))
    handlers_that_wait(bench, "work")
    async with bench.worker(reconciling=reconciler.Timing(every=0.1)):
        first = await bench.seen(added.job_id, "job-queued")
    assert first.leads_to == "waiting-children"


async def _nothing(*_: Any) -> None:
    return None


def handlers_that_wait(bench: Bench, *queues: str) -> None:
    """Jobs that end once Redis holds the key ``end``."""

    async def go(ctx: Context) -> str:
        while not await bench.client.get("end"):
            await ctx.check_cancelled()
            await asyncio.sleep(0.02)
        return ctx.job_id

    for queue in queues:
        bench.registry.add(queue, "go", go)


def failing(bench: Bench) -> None:
    @bench.handler("work", "fail")
    async def fail(ctx: Context) -> None:
        raise Unrecoverable("no such user")

    @bench.handler("work", "go")
    async def go(ctx: Context) -> str:
        return "done"

    @bench.handler("top", "go")
    async def top(ctx: Context) -> dict[str, Any]:
        children = await ctx.children()
        return {"results": list(children.results.values()), "failures": list(children.failures.values())}


async def test_a_child_fails_its_parent_that_is_to_fail_with_it(bench: Bench) -> None:
    """BullMQ marks the parent in the step that fails the child; its worker tells the end, without running it."""
    failing(bench)
    added = await submit(bench, node("top", "go", node("work", "fail", failParentOnFailure=True), node("nobody")))
    async with bench.worker(reconciling=reconciler.Timing(every=600)):
        events = await bench.ended(added.job_id, 5)
    last = events[-1]
    assert isinstance(last, JobFailed)
    assert last.final
    assert last.error == f"child bull:work:{added.children[0].job_id} failed"
    assert not any(isinstance(event, JobStarted) for event in events)
    shown = await snapshot(bench, added.job_id)
    assert counts(shown) == {"total": 2, "waiting": 1, "active": 0, "completed": 0, "failed": 1, "cancelled": 0}


async def test_a_failure_goes_up_all_generations_that_are_to_fail_with_it(bench: Bench) -> None:
    failing(bench)
    middle = node("top", "go", node("work", "fail", failParentOnFailure=True), failParentOnFailure=True)
    added = await submit(bench, node("top", "go", middle))
    async with bench.worker(reconciling=reconciler.Timing(every=600)):
        last = (await bench.ended(added.job_id, 5))[-1]
    assert isinstance(last, JobFailed)
    assert last.error == f"child bull:top:{added.children[0].job_id} failed"


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("ignoreDependencyOnFailure", ["Unrecoverable: no such user"]),
        ("continueParentOnFailure", ["Unrecoverable: no such user"]),
        ("removeDependencyOnFailure", []),
    ],
)
async def test_a_parent_goes_on_without_a_child_that_failed_and_may_do_so(
    bench: Bench, word: str, told: list[str]
) -> None:
    failing(bench)
    children = [node("work", "fail", **{word: True})]
    if word != "continueParentOnFailure":
        children.append(node("work", "go"))
    added = await submit(bench, node("top", "go", *children))
    async with bench.worker():
        last = (await bench.ended(added.job_id, 5))[-1]
    assert isinstance(last, JobCompleted)
    assert last.result == {"results": ["done"] * (len(children) - 1), "failures": told}


async def test_a_child_that_failed_keeps_its_parent_waiting_until_it_is_tried_again(bench: Bench) -> None:
    tries: list[int] = []

    @bench.handler("work", "go")
    async def go(ctx: Context) -> str:
        tries.append(ctx.attempt)
        if len(tries) == 1:
            raise Unrecoverable("not yet")
        return "late"

    @bench.handler("top", "go")
    async def top(ctx: Context) -> list[Any]:
        return list((await ctx.children()).results.values())

    added = await submit(bench, node("top", "go", node("work")))
    (child,) = added.children
    async with bench.worker():
        await bench.ended(child.job_id)
        shown = await snapshot(bench, added.job_id)
        assert (shown.state, counts(shown)["failed"]) == ("waiting-children", 1)
        await bench.queues.retry(child.job_id)
        last = (await bench.ended(added.job_id))[-1]
    assert isinstance(last, JobCompleted)
    assert last.result == ["late"]


async def test_cancelling_a_parent_cancels_its_children_that_are_not_over(bench: Bench) -> None:
    handlers_that_wait(bench, "slow")

    @bench.handler("quick")
    async def quick(ctx: Context) -> str:
        return "done"

    @bench.handler("top", "go")
    async def top(ctx: Context) -> None:
        raise AssertionError("it was cancelled")

    tree = node(
        "top", "go", node("quick"), node("slow"), node("nobody", delay=60_000), node("nobody", "go", node("nobody"))
    )
    added = await submit(bench, tree)
    done, running, delayed, parent = added.children
    async with bench.worker():
        await bench.ended(done.job_id)
        await bench.seen(running.job_id, "job-queue-to-start")
        answer = await bench.queues.cancel_family(added.job_id, "enough")
        assert answer == ("cancelled", 4)
        for job in (added, running, delayed, parent, parent.children[0]):
            assert (await bench.ended(job.job_id))[-1].kind == "job-cancelled"
    assert (await bench.events(delayed.job_id))[-1].reason == f"its parent {added.job_id} was cancelled: enough"  # type: ignore[attr-defined]
    assert (await snapshot(bench, done.job_id)).state == "completed"
    assert await bench.bullmq(done.job_id, "quick"), "what is over stays as it was"
    for queue in ("top", "nobody"):
        assert await bench.client.zcard(f"bull:{queue}:waiting-children") == 0
        assert await bench.client.llen(f"bull:{queue}:wait") == 0


async def test_cancelling_the_last_child_that_waits_lets_its_parent_go_on(bench: Bench) -> None:
    added = await submit(bench, node("top", "go", node("nobody")))
    (child,) = added.children
    assert (await bench.queues.cancel_family(child.job_id)) == ("cancelled", 0)
    shown = await snapshot(bench, added.job_id)
    assert (shown.state, shown.percent) == ("waiting", 90)
    assert await bench.state(added.job_id, "top") == "wait"


async def test_the_results_of_children_are_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobcast.worker.family.MOST_BYTES", 10_000)

    @bench.handler("work", "go")
    async def go(ctx: Context) -> str:
        return "x" * 3000

    @bench.handler("top", "go")
    async def top(ctx: Context) -> int:
        return len((await ctx.children()).results)

    many = await submit(bench, node("top", "go", *([node("work")] * 4)))
    few = await submit(bench, node("top", "go", *([node("work")] * 3)))
    async with bench.worker():
        last = (await bench.ended(many.job_id))[-1]
        assert isinstance(last, JobFailed)
        assert "PayloadTooLarge: the children's results are more than" in last.error
        last = (await bench.ended(few.job_id))[-1]
        assert isinstance(last, JobCompleted)
        assert last.result == 3


async def test_a_flow_made_by_node_is_run_by_our_workers_and_rolled_up(bench: Bench, run_node: RunNode) -> None:
    handlers(bench)
    added = await run_node("flow.js", bench.url, json.dumps(exchange()))
    assert added.exit_code == 0, added.stderr
    tree = json.loads(added.stdout)
    async with bench.worker():
        last = (await bench.ended(tree["id"]))[-1]
    assert isinstance(last, JobCompleted)
    assert len(last.result["together"]) == 2
    shown = await snapshot(bench, tree["id"])
    assert counts(shown)["completed"] == 2
    born = (await bench.events(tree["id"]))[0]
    assert isinstance(born, JobQueued)
    assert born.leads_to == "waiting-children"
    assert await bench.state(tree["id"], "reports") == "completed"
