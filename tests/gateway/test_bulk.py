"""Many jobs in one request: ids in order, or one reason and nothing queued."""

import json
import time
from typing import Any

import pytest

from tests.gateway.support import GatewayProcess, http
from tests.support.redis_server import RedisServer

GOOD = {"name": "simulate", "data": {}}


async def test_a_thousand_jobs_are_taken_at_once_and_answered_in_their_order(
    gateway: GatewayProcess, redis_server: RedisServer
) -> None:
    jobs = [{"name": "simulate", "data": {"n": n}} for n in range(1000)]
    async with http(gateway.url) as client:
        answer = await client.post("/api/v1/jobs/bulk", json={"queue": "demo", "jobs": jobs})
        assert answer.status_code == 202, answer.text
        ids = answer.json()["jobIds"]
        shown = (await client.get(f"/api/v1/jobs/{ids[999]}")).json()
    assert shown["status"] == "waiting"
    with redis_server.client() as redis:
        assert redis.lrange("bull:demo:wait", 0, -1) == ids[::-1]
        assert redis.hget(f"bull:demo:{ids[7]}", "data") == '{"n":7}'


async def test_a_job_that_is_there_already_is_named(gateway: GatewayProcess) -> None:
    jobs = [GOOD, {**GOOD, "opts": {"jobId": "film-7"}}]
    async with http(gateway.url) as client:
        first = (await client.post("/api/v1/jobs/bulk", json={"queue": "demo", "jobs": jobs})).json()
        again = (await client.post("/api/v1/jobs/bulk", json={"queue": "demo", "jobs": jobs})).json()
    assert "deduplicated" not in first
    assert again["deduplicated"] == ["film-7"]
    assert again["jobIds"][1] == "film-7"
    assert again["jobIds"][0] != first["jobIds"][0]


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"queue": "demo"}, "jobs"),
        ({"queue": "demo", "jobs": []}, "1 to 1000"),
        ({"queue": "demo", "jobs": [GOOD] * 1001}, "1 to 1000"),
        ({"queue": "a b", "jobs": [GOOD]}, "queue"),
        ({"queue": "demo", "jobs": [GOOD, 7]}, "jobs[1]"),
        ({"queue": "demo", "jobs": [GOOD, {"name": ""}]}, "jobs[1]"),
        ({"queue": "demo", "jobs": [GOOD, {**GOOD, "when": 1}]}, "jobs[1]"),
        ({"queue": "demo", "jobs": [GOOD, {**GOOD, "opts": {"delay": -1}}]}, "jobs[1]"),
        ({"queue": "demo", "jobs": [GOOD, {**GOOD, "opts": {"jobId": "7"}}]}, "jobs[1]"),
        ({"queue": "demo", "jobs": [GOOD], "more": 1}, "queue, jobs"),
    ],
)
async def test_one_bad_job_is_named_and_none_is_queued(
    gateway: GatewayProcess, redis_server: RedisServer, body: dict[str, Any], word: str
) -> None:
    async with http(gateway.url) as client:
        answer = await client.post("/api/v1/jobs/bulk", json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["code"].startswith("bad-")
    assert word in answer.json()["message"]
    with redis_server.client() as redis:
        assert [key for key in redis.keys("*") if "meta" not in key] == []


@pytest.mark.parametrize("data", ["[" * 400_000 + "]" * 400_000, "9" * 900_000], ids=["deep nesting", "endless digits"])
async def test_what_could_only_be_read_at_great_length_is_refused_at_once(gateway: GatewayProcess, data: str) -> None:
    body = '{"queue":"demo","jobs":[{"name":"simulate","data":' + data + "}]}"
    began = time.monotonic()
    async with http(gateway.url) as client:
        assert (await client.post("/api/v1/jobs/bulk", content=body.encode())).status_code == 400
        large = json.dumps({"queue": "demo", "jobs": [{**GOOD, "data": "x" * 1024 * 1024}]}).encode()
        assert (await client.post("/api/v1/jobs/bulk", content=large)).status_code == 413
    assert time.monotonic() - began < 5, "the loop was held up"
