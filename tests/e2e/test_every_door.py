"""One job, watched at once through every door: all are told the same, in the same order."""

import asyncio
from pathlib import Path

from playwright.async_api import Browser

from tests.conftest import StartNode
from tests.e2e.conftest import Stack
from tests.e2e.watchers import (
    first_snapshot,
    heard_by,
    over_node,
    over_python_socketio,
    over_sse,
    over_websocket,
)
from tests.support.heard import applied
from tests.support.waiting import wait_until

STEPS = {"steps": 30, "duration": 4, "logEvery": 5}


async def test_every_door_tells_the_same_numbers_in_the_same_order(
    stack: Stack, start_node: StartNode, browser: Browser, tmp_path: Path
) -> None:
    job_id = "watched-by-all"
    page = await browser.new_page()
    await page.goto(f"{stack.url}/#job={job_id}")
    node = [
        over_node(start_node, stack.url, job_id),
        over_node(start_node, stack.url, job_id, transports=["polling"]),
        over_node(start_node, stack.url, job_id, transports=["polling", "websocket"], namespace="/job-progress"),
        over_node(start_node, stack.url, job_id, path="/socket.io/jobs/", client="socket.io-client-4.5"),
        over_node(start_node, stack.url, job_id, client="socket.io-client-3.1"),
    ]
    for child in node:
        await child.says("job-snapshot")
    others = [
        asyncio.create_task(watch(stack.url, job_id)) for watch in (over_websocket, over_sse, over_python_socketio)
    ]
    await asyncio.sleep(0.5)
    await stack.submit("demo", "simulate", STEPS, jobId=job_id)
    heard = [await heard_by(child) for child in node] + list(await asyncio.gather(*others))

    final = await stack.job(job_id)
    assert final["status"] == "completed"
    everything = list(range(1, final["seq"] + 1))
    for each in heard:
        assert first_snapshot(each)["state"] == "unknown"
        assert applied(each) == everything
        assert each[-1][0] == "job-completed"

    async def page_says_completed() -> bool:
        return "completed" in (await page.inner_text("body")).lower()

    await wait_until(page_says_completed, 5, "the page to say that the job completed")


async def test_a_client_that_joins_late_gets_the_state_and_the_rest(stack: Stack) -> None:
    job_id = await stack.submit("demo", "simulate", STEPS)
    early = asyncio.create_task(over_websocket(stack.url, job_id))

    async def half() -> bool:
        return ((await stack.job(job_id))["percent"] or 0) >= 40

    await wait_until(half, 15, "the job's middle")
    midway = await over_websocket(stack.url, job_id)
    after = await over_websocket(stack.url, job_id)
    by_sse = await over_sse(stack.url, job_id)
    final = await stack.job(job_id)

    assert applied(await early)[-1] == final["seq"]
    start = first_snapshot(midway)
    assert start["state"] == "active"
    assert 40 <= start["percent"] < 100
    assert applied(midway) == list(range(start["seq"] + 1, final["seq"] + 1))
    for late in (after, by_sse):
        assert first_snapshot(late)["state"] == "completed"
        assert first_snapshot(late)["result"] == final["result"]
        # Once more what it was that ended the job, for front ends that know no snapshot.
        assert late[-1][0] == "job-completed"
        assert applied(late) == []


async def test_a_client_that_comes_back_with_its_position_gets_exactly_what_it_missed(stack: Stack) -> None:
    job_id = await stack.submit("demo", "simulate", STEPS)
    final = await stack.finished(job_id)
    since = {"epoch": final["epoch"], "seq": 5}
    by_websocket = await over_websocket(stack.url, job_id, since)
    by_sse = await over_sse(stack.url, job_id, f"{final['epoch']}-5")
    for heard in (by_websocket, by_sse):
        events = [payload["seq"] for name, payload in heard if name.startswith("job-")]
        assert events == list(range(6, final["seq"] + 1))


async def test_a_front_end_written_before_jobcast_works_unchanged(stack: Stack, start_node: StartNode) -> None:
    job_id = "classic"
    before = start_node("classic.js", stack.url, job_id)
    await asyncio.sleep(1)
    await stack.submit("demo", "simulate", STEPS, jobId=job_id)
    heard = await heard_by(before)
    names = [name for name, _ in heard]
    assert names[0] == "job-queue-to-start"
    assert names[-1] == "job-completed"
    percents = [payload["progress"] for name, payload in heard if name == "job-progress"]
    assert len(percents) > 10
    assert percents == sorted(percents)

    late = start_node("classic.js", stack.url, job_id)
    assert [name for name, _ in await heard_by(late)] == ["job-completed"]


async def test_a_job_that_fails_twice_says_so_with_each_attempt(stack: Stack, start_node: StartNode) -> None:
    job_id = "failing"
    node = over_node(start_node, stack.url, job_id)
    await node.says("job-snapshot")
    others = [asyncio.create_task(watch(stack.url, job_id)) for watch in (over_websocket, over_sse)]
    await asyncio.sleep(0.3)
    data = {"steps": 10, "duration": 1, "failAt": 5}
    await stack.submit("demo", "simulate", data, jobId=job_id, attempts=2, backoff=100)
    for heard in [await heard_by(node), *await asyncio.gather(*others)]:
        failures = [payload for name, payload in heard if name == "job-failed"]
        assert [payload["final"] for payload in failures] == [False, True]
        assert [payload["attempt"] for payload in failures] == [1, 2]
        assert "retryAt" in failures[0]
        assert failures[-1]["error"] == "SimulatedFailure: failed at step 5 of 10, as asked"
