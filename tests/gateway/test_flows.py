"""Flows through the gateway: added by HTTP and the command line, watched live, cancelled with their children."""

import asyncio
import json

import pytest

from jobcast.cli import exits
from jobcast.cli.main import main
from tests.contract.jobs import children_progress, progress, started
from tests.gateway.listeners import SseListener
from tests.gateway.support import Served, http

FLOW = {
    "queue": "reports",
    "name": "aggregate-results",
    "children": [
        {"queue": "orders", "name": "fetch-orders", "data": {"user": 7}, "opts": {"weight": 3}},
        {"queue": "balances", "name": "fetch-balances"},
    ],
}
WAITING = {"total": 2, "waiting": 2, "active": 0, "completed": 0, "failed": 0, "cancelled": 0}


async def test_a_flow_is_taken_whole_and_answered_with_the_tree_of_its_ids(house: Served) -> None:
    async with http(house.url) as client:
        answer = await client.post("/api/v1/flows", json=FLOW)
        assert answer.status_code == 202, answer.text
        told = answer.json()
        assert (told["queue"], [child["name"] for child in told["children"]]) == (
            "reports", ["fetch-orders", "fetch-balances"],
        )  # fmt: skip
        assert answer.headers["location"] == f"/api/v1/jobs/{told['jobId']}"
        shown = (await client.get(answer.headers["location"])).json()
        assert (shown["status"], shown["children"]) == ("waiting-children", WAITING)
        child = (await client.get(f"/api/v1/jobs/{told['children'][0]['jobId']}")).json()
        assert (child["status"], child["parentId"]) == ("waiting", told["jobId"])
        listed = (await client.get("/api/v1/jobs", params={"queue": "reports", "status": "waiting-children"})).json()
        assert [job["id"] for job in listed["jobs"]] == [told["jobId"]]


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        ([], 400, "expected a JSON object {queue, name, data?, opts?, children?}"),
        ({**FLOW, "children": [{"queue": "q"}]}, 400, "children[0]: expected a job name"),
        ({**FLOW, "data": "x" * 1_100_000}, 413, "expected a body of at most 1048576 bytes"),
    ],
)
async def test_a_flow_that_is_wrong_is_refused_by_the_place_of_the_mistake(
    house: Served, body: object, status: int, sentence: str
) -> None:
    async with http(house.url) as client:
        answer = await client.post("/api/v1/flows", json=body)
    assert answer.status_code == status
    assert sentence in answer.json()["message"]


async def test_who_watches_a_parent_sees_what_its_children_make_of_it(house: Served) -> None:
    async with http(house.url) as client:
        told = (await client.post("/api/v1/flows", json=FLOW)).json()
        parent, child = told["jobId"], told["children"][0]["jobId"]
        async with SseListener.to(house.url, f"/api/v1/jobs/{parent}/events") as stream:
            snapshot = await stream.until("job-snapshot")
            assert (snapshot["state"], snapshot["children"]) == ("waiting-children", WAITING)
            await house.journal.append(started(child, queue="orders"))
            await house.journal.append(progress(child, queue="orders", percent=40))
            await house.journal.append(children_progress(parent, queue="reports", percent=27))
            assert (await stream.until("job-progress"))["percent"] == 27
        answer = await client.request("DELETE", f"/api/v1/jobs/{parent}")
        assert answer.json() == {"jobId": parent, "state": "cancelled", "children": 2}


async def test_the_command_line_adds_a_flow_and_prints_the_id_to_watch(
    house: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    for more in ([], ["--json"]):
        code = await asyncio.to_thread(main, ["submit-flow", json.dumps(FLOW), "--url", house.url, *more])
        assert code == exits.COMPLETED
    plain, whole = capsys.readouterr().out.splitlines()
    assert len(plain) == 32
    assert [child["queue"] for child in json.loads(whole)["children"]] == ["orders", "balances"]
    code = await asyncio.to_thread(main, ["submit-flow", '{"queue": "q"}', "--url", house.url])
    assert code != exits.COMPLETED
    assert "expected a job name" in capsys.readouterr().err
