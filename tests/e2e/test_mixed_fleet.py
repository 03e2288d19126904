"""Node's bullmq and jobcast as one fleet: producers and workers of both on one queue, told of by our gateway."""

import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.conftest import RunNode, StartJobcast, StartNode, StartRedis
from tests.e2e.fleet import Fleet, Told
from tests.gateway.listeners import SseListener
from tests.support.waiting import free_port, wait_until

EVERY = 400
"""Ms between two runs of a schedule."""
ALL_DONE = {"total": 2, "waiting": 0, "active": 0, "completed": 2, "failed": 0, "cancelled": 0}


@pytest.fixture
async def fleet(
    start_redis: StartRedis, start_jobcast: StartJobcast, start_node: StartNode, run_node: RunNode
) -> AsyncIterator[Fleet]:
    server, url = start_redis(), f"http://127.0.0.1:{(port := free_port())}"
    gateway = start_jobcast("gateway", env={"JOBCAST_REDIS_URL": server.url, "JOBCAST_PORT": str(port)})
    await gateway.ready(url)
    with server.client() as behind:
        yield Fleet(server.url, behind, url, start_jobcast, start_node, run_node)


async def test_both_share_a_queue_and_each_job_is_run_once_and_told_from_its_first_event_to_its_end(
    fleet: Fleet,
) -> None:
    await fleet.ours()
    await fleet.nodes("fleet")
    async with SseListener.to(fleet.url, "/api/v1/queues/fleet/events") as stream:
        told = Told(stream)
        jobs = await fleet.add(200, {"ms": 20})
        await wait_until(lambda: fleet.ids("completed") == jobs, 30, "the end of all jobs in BullMQ")
        await told.until_over(jobs)
    assert sorted(job_id for _, job_id in fleet.ledger("start")) == sorted(jobs)
    assert sorted(job_id for _, job_id in fleet.ledger("end")) == sorted(jobs)
    shares = Counter(who for who, _ in fleet.ledger("end"))
    assert min(shares["ours"], shares["node"]) >= 40, shares
    told.check_numbers(jobs)
    for job_id, events in told.jobs().items():
        assert [name for name, _ in events] == ["job-queued", "job-queue-to-start", "job-completed"], job_id
    by = {job_id: who for who, job_id in fleet.ledger("end")}
    assert {job_id: events[-1][1]["result"]["by"] for job_id, events in told.jobs().items()} == by


async def test_a_worker_of_each_kind_is_killed_in_the_middle_and_no_job_is_lost_or_ends_twice(fleet: Fleet) -> None:
    victims = {"ours-1": await fleet.ours("ours-1"), "node-1": await fleet.nodes("fleet", who="node-1")}
    await fleet.ours("ours-2")
    await fleet.nodes("fleet", who="node-2")
    async with SseListener.to(fleet.url, "/api/v1/queues/fleet/events") as stream:
        told = Told(stream)
        jobs = await fleet.add(100, {"ms": 200})
        await wait_until(lambda: len(fleet.ledger("end")) >= 40 and all(_held(fleet, who) for who in victims), 20)
        for process in victims.values():
            process.kill()
        cut = {who: _held(fleet, who) for who in victims}
        await wait_until(lambda: fleet.ids("completed") == jobs, 60, "the end of all jobs in BullMQ")
        await told.until_over(jobs)
    assert all(cut.values()), "each of the two was killed with jobs in hand"
    starts = Counter(job_id for _, job_id in fleet.ledger("start"))
    assert starts.keys() == jobs
    assert {job_id for job_id, number in starts.items() if number > 1} == set().union(*cut.values())
    assert max(starts.values()) == 2
    assert told.ends() == {job_id: ["completed"] for job_id in jobs}
    told.check_numbers(jobs)
    assert fleet.behind.hlen("effects") == len(jobs) == int(fleet.behind.get("effects:count") or 0)


def _held(fleet: Fleet, who: str) -> set[str]:
    """The jobs that this worker began and did not end."""
    started = {job_id for worker, job_id in fleet.ledger("start") if worker == who}
    return started - {job_id for worker, job_id in fleet.ledger("end") if worker == who}


async def test_schedules_of_each_are_run_by_the_other_and_by_both_no_run_twice_and_none_missed(fleet: Fleet) -> None:
    """The name of a schedule says who made it and who works its queue."""
    await fleet.ours()
    await fleet.nodes("fleet", "theirs")
    queues = {"node-for-ours": "ours", "node-for-both": "fleet", "ours-for-node": "theirs", "ours-for-both": "fleet"}
    for name, queue in queues.items():
        repeat, data = {"every": EVERY}, {"ms": 1}
        if name.startswith("node"):
            template = json.dumps({"name": "go", "data": data})
            await fleet.node_says("schedules.js", queue, "upsert", name, json.dumps(repeat), template)
        else:
            await fleet.ask("PUT", f"queues/{queue}/schedules/{name}", {"repeat": repeat, "name": "go", "data": data})
    await wait_until(lambda: all(len(_runs(fleet, name)) >= 6 for name in queues), 30, "six runs of each")
    for name, queue in queues.items():  # each is removed by who did not make it
        if name.startswith("node"):
            await fleet.ask("DELETE", f"queues/{queue}/schedules/{name}")
        else:
            assert await fleet.node_says("schedules.js", queue, "remove", name) is True
    await wait_until(lambda: not any(_waiting(fleet, queue) for queue in queues.values()), 10, "nothing left to do")
    for name, queue in queues.items():
        runs = _runs(fleet, name)
        made = {job_id for job_id in fleet.ids("completed", queue) if job_id.startswith(f"repeat:{name}:")}
        assert sorted(runs) == sorted(made), "each that was made was run once"
        _check_slots(fleet, queue, runs)
        workers = {who for who, job_id in fleet.ledger() if job_id in made}
        assert workers == {"ours": {"ours"}, "theirs": {"node"}}.get(queue, workers)
        for job_id in runs:
            assert (await fleet.over(job_id))["status"] == "completed"


def _runs(fleet: Fleet, schedule: str) -> list[str]:
    return [job_id for _, job_id in fleet.ledger() if job_id.startswith(f"repeat:{schedule}:")]


def _waiting(fleet: Fleet, queue: str) -> int:
    """How many jobs of the queue wait, are delayed or at work."""
    base = f"bull:{queue}:"
    return sum(
        (fleet.behind.llen(f"{base}wait"), fleet.behind.zcard(f"{base}delayed"), fleet.behind.llen(f"{base}active"))
    )


def _check_slots(fleet: Fleet, queue: str, runs: list[str]) -> None:
    """From one slot to the next; one is left out where a run began so late that it was over."""
    slots = sorted((int(job_id.rpartition(":")[2]), job_id) for job_id in runs)
    for (at, job_id), (following, _) in itertools.pairwise(slots):
        began = int(fleet.behind.hget(f"bull:{queue}:{job_id}", "processedOn") or 0)
        assert following - at == EVERY or (following > at + EVERY and began >= at + EVERY), slots


async def test_flows_of_each_over_queues_of_both_are_rolled_up_live_and_end_with_all_results(fleet: Fleet) -> None:
    """Node's with a child for each kind of worker; ours with a parent for the one and children for the other."""
    await fleet.ours()
    await fleet.nodes("theirs")
    of_node = await fleet.node_says("flow.js", json.dumps(_over_both("ours", "ours", "theirs")))
    flows = [("ours", of_node["id"], [child["id"] for child in of_node["children"]])]
    for above, below in (("ours", "theirs"), ("theirs", "ours")):
        tree = await fleet.ask("POST", "flows", _over_both(above, below, below))
        flows.append((above, tree["jobId"], [child["jobId"] for child in tree["children"]]))
    async with AsyncExitStack() as stack:
        watched = {}
        for _, parent, _ in flows:
            path = f"/api/v1/jobs/{parent}/events"
            watched[parent] = await stack.enter_async_context(SseListener.to(fleet.url, path))
        fleet.behind.set("first", "1")
        for stream in watched.values():
            await wait_until(lambda stream=stream: _percents(stream)[-1:] == [45], 20, "half of the children's share")  # type: ignore[misc, arg-type]
        fleet.behind.set("second", "1")
        for above, parent, children in flows:
            result = (await watched[parent].until("job-completed", 20))["result"]
            assert result["by"] == {"ours": "ours", "theirs": "node"}[above]
            assert result["children"] == {child: (await fleet.over(child))["result"] for child in children}
            assert (await fleet.job(parent))["children"] == ALL_DONE


def _node(queue: str, *children: dict[str, Any], opts: dict[str, Any] | None = None, **data: Any) -> dict[str, Any]:
    return {"queue": queue, "name": "go", "data": data, "opts": opts or {}, "children": list(children)}


def _over_both(above: str, first: str, second: str) -> dict[str, Any]:
    return _node(above, _node(first, until="first"), _node(second, until="second"))


def _percents(stream: SseListener) -> list[float]:
    return [payload["percent"] for payload in stream.named("job-progress")]


async def test_a_child_s_failure_reaches_its_parent_over_the_border_or_does_not_as_its_options_say(
    fleet: Fleet,
) -> None:
    await fleet.ours()
    await fleet.nodes("theirs")
    added = []
    for above, below in (("ours", "theirs"), ("theirs", "ours")):
        for option in ("failParentOnFailure", "ignoreDependencyOnFailure"):
            tree = _node(above, _node(below, opts={option: True}, fails="no such user"), _node(below))
            by_us = await fleet.ask("POST", "flows", tree)
            by_node = await fleet.node_says("flow.js", json.dumps(tree))
            added.append((option, below, by_us["jobId"], [child["jobId"] for child in by_us["children"]]))
            added.append((option, below, by_node["id"], [child["id"] for child in by_node["children"]]))
    for option, below, parent, (failed, done) in added:
        child, last = await fleet.over(failed), await fleet.over(parent)
        assert (child["status"], "no such user" in child["error"]) == ("failed", True)
        if option == "failParentOnFailure":
            assert last["status"] == "failed"
            assert last["error"].endswith(f"child bull:{below}:{failed} failed")
        else:
            assert (last["status"], list(last["result"]["children"])) == ("completed", [done])


async def test_a_parent_goes_on_without_children_that_were_removed_and_with_one_that_was_done_before(
    fleet: Fleet,
) -> None:
    await fleet.ours()
    await fleet.nodes("theirs")
    done = await _done_by_node(fleet)
    orphaned = await fleet.node_says("flow.js", json.dumps(_node("ours", _node("nobody"), _node("nobody"))))
    await fleet.press("nobody", *(f"{child['id']}/clean" for child in orphaned["children"]))
    late = await fleet.node_says("flow.js", json.dumps(_node("ours", _node("theirs", opts={"jobId": done}))))
    body = {"queue": "ours", "name": "go", "data": {"requires": done}}
    needy = await fleet.ask("POST", "jobs", body)
    assert (await fleet.over(orphaned["id"]))["result"] == {"by": "ours", "children": {}}
    for parent in (late["id"], needy["jobId"]):
        assert (await fleet.over(parent))["result"]["children"][done]["by"] == "node"


async def _done_by_node(fleet: Fleet) -> str:
    job_id: str = (await fleet.ask("POST", "jobs", {"queue": "theirs", "name": "go", "data": {}}))["jobId"]
    assert (await fleet.over(job_id))["result"]["by"] == "node"
    return job_id


async def test_bull_board_operates_the_queue_that_both_work(fleet: Fleet) -> None:
    await fleet.ours()
    await fleet.nodes("fleet")
    async with SseListener.to(fleet.url, "/api/v1/queues/fleet/events") as stream:
        told = Told(stream)
        failing = await fleet.add(8, {"failsFirst": "disk full", "ms": 50})
        delayed = await fleet.add(4, {"ms": 50}, {"delay": 600_000})
        await told.until_over(failing)
        assert fleet.ids("failed") == failing
        await fleet.press("fleet", *(f"{job_id}/retry" for job_id in failing))
        await fleet.press("fleet", *(f"{job_id}/promote" for job_id in delayed))
        await told.until_over(failing, times=2)
        await told.until_over(delayed)
        await fleet.press("fleet", "pause")
        before = fleet.ledger()
        kept, (removed, unheard) = await fleet.add(8, {"ms": 50}), sorted(await fleet.add(1, {}), reverse=True)
        await fleet.press("fleet", f"{removed}/clean", f"{unheard}/clean")
        await told.until_over({removed})
        assert fleet.ledger() == before, "nothing begins while it is paused"
        await fleet.press("fleet", "resume")
        await told.until_over(kept)
    assert told.ends() == {
        **{job_id: ["failed", "completed"] for job_id in failing},
        **{job_id: ["completed"] for job_id in delayed | kept},
        removed: ["cancelled"],  # the other was Node's, and no worker had seen it
    }
    told.check_numbers({*failing, *delayed, *kept, removed})
    starts = Counter(job_id for _, job_id in fleet.ledger())
    assert starts == {**dict.fromkeys(failing, 2), **dict.fromkeys(delayed | kept, 1)}
    assert {who for who, _ in fleet.ledger()} == {"ours", "node"}
