"""Every HTTP route: what it answers, and how it refuses."""

import json
from typing import Any

import pytest

from tests.gateway.events import failed, progressed, queued, run_job, started
from tests.gateway.support import Served, http
from tests.support.waiting import wait_until


async def get(house: Served, path: str, status: int = 200) -> Any:
    async with http(house.url) as client:
        answer = await client.get(path)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/json"
        return answer.json()


async def test_a_submitted_job_is_queued_for_a_worker_and_in_the_record(house: Served) -> None:
    async with http(house.url) as client:
        body = {"queue": "demo", "name": "simulate", "data": {"steps": 3}, "opts": {"jobId": "mine", "attempts": 2}}
        answer = await client.post("/api/v1/jobs", json=body)
        assert (answer.status_code, answer.json()) == (202, {"jobId": "mine"})
        assert answer.headers["location"] == "/api/v1/jobs/mine"
        again = await client.post("/api/v1/jobs", json=body)
        assert (again.status_code, again.json()) == (202, {"jobId": "mine", "deduplicated": True})
    found = await get(house, "/api/v1/jobs/mine")
    assert (found["status"], found["queue"], found["name"], found["maxAttempts"]) == ("waiting", "demo", "simulate", 2)
    assert (await get(house, "/api/v1/queues/demo"))["counts"]["waiting"] == 1


async def test_a_job_is_shown_with_its_times_its_progress_its_result_and_its_history(house: Served) -> None:
    appended = await run_job(house.journal, "j")
    epoch = appended[0].position.epoch
    found = await get(house, "/api/v1/jobs/j")
    named = {"id", "name", "queue", "status", "progress", "result", "error", "attempts", "maxAttempts"}
    assert named | {"createdAt", "processedAt", "finishedAt", "epoch", "seq"} <= set(found)
    assert (found["status"], found["result"], found["error"]) == ("completed", {"files": 3}, None)
    assert found["createdAt"] == "2023-11-14T22:13:20.000+00:00"
    assert (found["epoch"], found["seq"]) == (epoch, 6)
    assert (await get(house, "/api/v1/jobs/j/progress"))["percent"] == 100
    assert (await get(house, "/api/v1/jobs/j/result"))["result"] == {"files": 3}
    history = await get(house, "/api/v1/jobs/j/history")
    assert [payload["seq"] for _, payload in history["events"]] == [1, 2, 3, 4, 5, 6]
    assert history["events"][-1][0] == "job-completed"


async def test_a_failed_job_shows_its_error_and_no_result(house: Served) -> None:
    for event in (queued("j"), started("j"), progressed("j", {"rows": 5}, percent=12.5), failed("j")):
        await house.journal.append(event)
    assert (await get(house, "/api/v1/jobs/j/result")) == {
        "jobId": "j",
        "status": "failed",
        "result": None,
        "error": "boom",
    }
    found = await get(house, "/api/v1/jobs/j/progress")
    assert (found["progress"], found["percent"]) == ({"rows": 5}, 12.5)


async def test_a_list_is_turned_page_by_page_and_narrowed_by_status(house: Served) -> None:
    for number in range(25):
        await run_job(house.journal, f"j{number}", 0, finish=number % 5 == 0)
    await run_job(house.journal, "elsewhere", 0, queue="other")
    seen: list[str] = []
    cursor: str | None = ""
    pages = 0
    while cursor is not None:
        page = await get(house, f"/api/v1/jobs?queue=demo&limit=10{f'&cursor={cursor}' if cursor else ''}")
        seen += [job["id"] for job in page["jobs"]]
        cursor = page["cursor"]
        pages += 1
    assert (pages, len(seen), set(seen)) == (3, 25, {f"j{number}" for number in range(25)})
    done = await get(house, "/api/v1/jobs?queue=demo&status=completed")
    assert {job["id"] for job in done["jobs"]} == {"j0", "j5", "j10", "j15", "j20"}
    classic = await get(house, "/api/v1/jobs/queue/demo/jobs?status=active&limit=3")
    assert (classic["queueName"], len(classic["jobs"])) == ("demo", 3)


async def test_queues_are_listed_with_their_counts_and_health(house: Served) -> None:
    async with http(house.url) as client:
        for _ in range(3):
            await client.post("/api/v1/jobs", json={"queue": "demo", "name": "simulate", "data": {}})
    found = (await get(house, "/api/v1/queues"))["queues"]
    assert [(queue["name"], queue["counts"]["waiting"], queue["health"]) for queue in found] == [("demo", 3, "ok")]
    stats = await get(house, "/api/v1/jobs/queue/demo/stats")
    assert (stats["queueName"], stats["waiting"], stats["total"]) == ("demo", 3, 3)


async def test_a_waiting_job_is_cancelled_and_tried_again_only_once_it_is_over(house: Served) -> None:
    async with http(house.url) as client:
        body = {"queue": "demo", "name": "simulate", "data": {}, "opts": {"jobId": "mine"}}
        await client.post("/api/v1/jobs", json=body)
        assert (await client.post("/api/v1/jobs/mine/retry")).status_code == 400
        cancelled = await client.delete("/api/v1/jobs/mine", params={"reason": "not needed"})
        assert (cancelled.status_code, cancelled.json()["state"]) == (202, "cancelled")
        assert (await client.delete("/api/v1/jobs/mine")).json()["code"] == "bad-request"
        assert (await client.post("/api/v1/jobs/mine/retry")).status_code == 404
    assert (await get(house, "/api/v1/jobs/mine"))["status"] == "cancelled"


@pytest.mark.parametrize("below", ["", "/progress", "/result", "/history"])
async def test_a_job_nobody_knows_is_not_found(house: Served, below: str) -> None:
    found = await get(house, f"/api/v1/jobs/nobody{below}", 404)
    assert found == {"code": "unknown-job", "message": "no record of job nobody", "retryable": False}


async def test_health_readiness_and_metrics_answer_operators(house: Served) -> None:
    assert await get(house, "/healthz") == {"status": "ok"}
    assert await get(house, "/readyz") == {"status": "alive"}
    async with http(house.url) as client:
        text = (await client.get("/metrics")).text
    assert "jobcast_feed_alive 1.0" in text
    assert "jobcast_quarantined_total 0.0" in text
    house.gateway.stop()
    assert await get(house, "/readyz", 503) == {"status": "stopping"}
    assert await get(house, "/healthz") == {"status": "ok"}


async def test_bytes_that_are_no_event_are_counted_for_operators(house: Served) -> None:
    async with http(house.url) as client, client.stream("GET", "/api/v1/jobs/j/events") as stream:
        lines = stream.aiter_lines()
        while "job-snapshot" not in await anext(lines):
            pass
        redis = house.journal._client
        await redis.publish("jobcast:{j}", b"rubbish")

        async def counted() -> bool:
            return "jobcast_quarantined_total 1.0" in (await client.get("/metrics")).text

        await wait_until(counted, 2, "the count")
        await house.journal.append(queued("j"))
        while (line := await anext(lines)) != "event: job-queued":
            assert "rubbish" not in line


async def test_the_page_may_run_its_own_scripts_and_nothing_else(house: Served) -> None:
    async with http(house.url) as client:
        page = await client.get("/")
        policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
        assert "unsafe" not in json.dumps(policy)
        assert page.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("PUT", "/api/v1/jobs", 405)])
async def test_what_there_is_not_is_refused_in_the_shape_of_every_error(
    house: Served, method: str, path: str, status: int
) -> None:
    async with http(house.url) as client:
        answer = await client.request(method, path)
    assert answer.status_code == status
    assert set(answer.json()) == {"code", "message", "retryable"}
