"""Operations over HTTP: what each answers, what it refuses, and who may not ask. Named for reference-systems.md."""

from typing import Any

from tests.gateway.support import Served, http
from tests.shared.bullmq import Site


async def call(house: Served, method: str, path: str, status: int = 200, **how: Any) -> Any:
    async with http(house.url) as client:
        answer = await client.request(method, f"/api/v1{path}", **how)
        assert answer.status_code == status, answer.text
        return answer.json()


async def submit(house: Served, **opts: Any) -> str:
    body = {"queue": "films", "name": "encode", "data": {"film": 7}, "opts": opts}
    return str((await call(house, "POST", "/jobs", 202, json=body))["jobId"])


async def fail(site: Site, house: Served) -> str:
    job_id = await submit(house)
    await site.fail(job_id)
    return job_id


async def test_system_2_operations_pause_resume_retry_clean_and_details_over_http(house: Served, site: Site) -> None:
    assert await call(house, "POST", "/queues/films/pause") == {"queue": "films", "paused": True}
    assert await site.queue().isPaused()
    assert await call(house, "POST", "/queues/films/resume") == {"queue": "films", "paused": False}
    job_id = await fail(site, house)
    details = await call(house, "GET", f"/jobs/{job_id}/details")
    assert (details["state"], details["failedReason"], details["data"]) == ("failed", "disk full", {"film": 7})
    assert (details["attemptsMade"], details["events"][-1][0]) == (1, "job-failed")
    listed = await call(house, "GET", "/queues/films/jobs?state=failed&limit=5")
    assert [each["id"] for each in listed["jobs"]] == [job_id]
    done = await call(house, "POST", "/queues/films/retry-failed", json={"limit": 10})
    assert (done["jobs"], done["left"]) == (1, 0)
    await site.fail(job_id)
    assert (await call(house, "POST", "/queues/films/clean", json={"state": "failed"}))["jobs"] == 0
    done = await call(house, "POST", "/queues/films/clean", json={"state": "failed", "olderThan": 0})
    assert (done["jobs"], done["left"]) == (1, 0)


async def test_a_job_is_promoted_removed_and_drained_over_http(house: Served, site: Site) -> None:
    first, second, third = [await submit(house, delay=60_000) for _ in range(3)]
    assert await call(house, "POST", f"/jobs/{first}/promote") == {"jobId": first, "state": "waiting"}
    assert (await call(house, "GET", f"/jobs/{first}"))["status"] == "waiting"
    assert await call(house, "POST", f"/jobs/{second}/remove") == {"jobId": second, "removed": [second]}
    assert (await call(house, "POST", "/queues/films/drain"))["jobs"] == 1
    assert (await call(house, "POST", "/queues/films/drain", json={"delayed": True}))["jobs"] == 1
    for job_id in (first, second, third):
        assert (await call(house, "GET", f"/jobs/{job_id}"))["status"] == "cancelled"
        assert await site.kept(job_id) is None


BAD: list[tuple[str, str, Any, int]] = [
    ("POST", "/queues/a*b/pause", None, 400),
    ("POST", "/queues/films/drain", {"delay": True}, 400),
    ("POST", "/queues/films/drain", {"delayed": 1}, 400),
    ("POST", "/queues/films/drain", [], 400),
    ("POST", "/queues/films/drain", {"limit": True}, 400),
    ("POST", "/queues/films/clean", {"state": "waiting"}, 400),
    ("POST", "/queues/films/clean", None, 400),
    ("POST", "/queues/films/clean", {"state": "failed", "olderThan": -1}, 400),
    ("POST", "/queues/films/retry-failed", {"limit": 100_000}, 400),
    ("POST", "/queues/films/retry-failed", {"before": -1}, 400),
    ("POST", "/queues/films/retry-failed", {"before": 10**30}, 400),
    ("POST", "/queues/films/retry-failed", {"skip": 2**53}, 400),
    ("POST", "/queues/films/drain", {"limit": 10**30}, 400),
    ("POST", "/queues/films/clean", {"state": "failed", "olderThan": 10**30}, 400),
    ("GET", "/queues/films/jobs?state=failed&start=-1", None, 400),
    ("GET", "/queues/films/jobs", None, 400),
    ("POST", "/jobs/nobody/promote", None, 404),
    ("POST", "/jobs/nobody/remove", None, 404),
    ("GET", "/jobs/nobody/details", None, 404),
    ("GET", "/jobs/nobody/details?queue=films", None, 404),
    ("GET", "/jobs/nobody/details?queue=a*b", None, 400),
    ("GET", "/queues/films/pause", None, 405),
]


async def test_what_cannot_be_done_is_refused_by_name(house: Served) -> None:
    for method, path, body, status in BAD:
        refused = await call(house, method, path, status, json=body)
        assert set(refused) == {"code", "message", "retryable"}, (method, path, body)


async def test_a_page_of_another_origin_operates_nothing(house: Served, site: Site) -> None:
    headers = {"origin": "http://evil.example"}
    for path in ("/queues/films/pause", "/queues/films/drain", "/jobs/x/remove"):
        assert (await call(house, "POST", path, 403, headers=headers))["code"] == "forbidden"
    assert not await site.queue().isPaused()


async def test_system_2_health_is_told_for_each_queue_and_for_all(house: Served, site: Site) -> None:
    await submit(house)
    found = await call(house, "GET", "/health")
    assert (found["healthy"], [each["name"] for each in found["queues"]]) == (True, ["films"])
    for number in range(100):
        site.behind.zadd("bull:films:failed", {f"f{number}": 1})
    found = await call(house, "GET", "/queues/films")
    assert (found["healthy"], found["health"], found["counts"]["failed"]) == (False, "degraded", 100)
    assert found["reasons"] == ["100 jobs have failed; healthy is below 100"]
    assert (await call(house, "GET", "/health"))["healthy"] is False
