"""Schedules of Node's bullmq and ours, beside each other on one queue: seen, run and removed by either."""

import json
from typing import Any

import httpx

from tests.conftest import RunNode
from tests.e2e.conftest import Stack
from tests.support.waiting import wait_until

BEAT = {"steps": 1, "duration": 0.01}


async def _node(run_node: RunNode, stack: Stack, *args: str) -> Any:
    found = await run_node("schedules.js", stack.redis_url, *args)
    assert found.exit_code == 0, found.stderr
    return json.loads(found.stdout)


async def _ask(stack: Stack, method: str, path: str, body: Any = None) -> Any:
    async with httpx.AsyncClient(base_url=stack.url, trust_env=False) as http:
        answer = await http.request(method, f"/api/v1/queues/{path}", json=body)
        assert answer.is_success, answer.text
        return answer.json()


async def test_a_schedule_of_node_is_listed_run_and_removed_here(stack: Stack, run_node: RunNode) -> None:
    template = json.dumps({"name": "simulate", "data": BEAT, "opts": {"priority": 2}})
    await _node(run_node, stack, "demo", "upsert", "node-beat", '{"every": 200}', template)
    [listed] = (await _ask(stack, "GET", "demo/schedules"))["schedules"]
    assert (listed["id"], listed["name"], listed["data"]) == ("node-beat", "simulate", BEAT)
    assert (listed["repeat"]["every"], listed["opts"]["priority"]) == (200, 2)

    async def ran() -> bool:
        return bool((await _ask(stack, "GET", "demo/schedules/node-beat"))["ran"] >= 4)

    await wait_until(ran, 10, "four runs of Node's schedule")
    queue = await _ask(stack, "GET", "demo")
    assert queue["counts"]["failed"] == 0
    await _ask(stack, "DELETE", "demo/schedules/node-beat")
    assert await _node(run_node, stack, "demo", "list") == []


async def test_a_schedule_of_ours_is_listed_run_and_removed_by_node(stack: Stack, run_node: RunNode) -> None:
    queue = "for-node"  # no worker of ours knows it
    body = {"repeat": {"every": 200}, "name": "beat", "data": {"n": 1}, "opts": {"attempts": 2}}
    await _ask(stack, "PUT", f"{queue}/schedules/our-beat", body)
    nightly = {"repeat": {"pattern": "0 0 * * *", "tz": "Europe/Berlin"}, "name": "cleanup"}
    await _ask(stack, "PUT", f"{queue}/schedules/nightly", nightly)
    seen = {each["key"]: each for each in await _node(run_node, stack, queue, "list")}
    assert (seen["our-beat"]["every"], seen["our-beat"]["name"]) == (200, "beat")
    assert (seen["our-beat"]["template"]["data"], seen["our-beat"]["template"]["opts"]["attempts"]) == ({"n": 1}, 2)
    assert (seen["nightly"]["pattern"], seen["nightly"]["tz"]) == ("0 0 * * *", "Europe/Berlin")

    runs = await _node(run_node, stack, queue, "work", "4")
    assert len(set(runs)) == len(runs) >= 4
    found = await _ask(stack, "GET", f"{queue}/schedules/our-beat")
    assert found["ran"] >= 4
    assert await _node(run_node, stack, queue, "remove", "our-beat") is True
    [left] = (await _ask(stack, "GET", f"{queue}/schedules"))["schedules"]
    assert left["id"] == "nightly"


async def test_node_and_we_reckon_the_next_run_alike(stack: Stack, run_node: RunNode) -> None:
    queue = "reckoned"
    patterns = {
        "a": {"pattern": "0 9 * * *", "tz": "Europe/Berlin"},
        "b": {"pattern": "30 2 * * 1-5", "tz": "America/New_York"},
        "c": {"pattern": "15 */6 * * *", "tz": "Asia/Kathmandu"},
        "d": {"pattern": "5 4 3 * * *", "tz": "Australia/Sydney"},
    }
    for name, repeat in patterns.items():
        await _ask(stack, "PUT", f"{queue}/schedules/{name}", {"repeat": repeat, "name": "go"})
    ours = {each["key"]: each["next"] for each in await _node(run_node, stack, queue, "list")}
    upserts = [word for name, repeat in patterns.items() for word in (name, json.dumps(repeat), '{"name": "go"}')]
    await _node(run_node, stack, queue, "upsert", *upserts)
    assert {each["key"]: each["next"] for each in await _node(run_node, stack, queue, "list")} == ours
