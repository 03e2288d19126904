"""The HTTP door and the command of schedules."""

import asyncio
import json
from typing import Any

import pytest

from jobcast.cli.main import main
from tests.gateway.support import GatewayProcess, Served, http
from tests.support.redis_server import RedisServer

PATH = "/api/v1/queues/prices/schedules"
TERMS = {"repeat": {"every": 300_000}, "name": "update-all", "data": {"currency": "eur"}, "opts": {"priority": 3}}


async def _ask(house: Served, method: str, path: str, status: int, body: Any = None) -> Any:
    async with http(house.url) as client:
        answer = await client.request(method, PATH + path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()


async def test_a_schedule_is_put_listed_and_removed(house: Served) -> None:
    made = await _ask(house, "PUT", "/update-all", 201, TERMS)
    assert (made["id"], made["queue"], made["name"], made["data"]) == (
        "update-all", "prices", "update-all", {"currency": "eur"},
    )  # fmt: skip
    assert (made["ran"], made["over"], made["repeat"]["every"], made["opts"]["priority"]) == (0, False, 300_000, 3)
    assert made["next"].endswith("+00:00")
    assert await _ask(house, "PUT", "/update-all", 200, TERMS) == made
    assert await _ask(house, "GET", "", 200) == {"schedules": [made]}
    assert await _ask(house, "GET", "/update-all", 200) == made
    await _ask(house, "PUT", "/update-all", 201, {**TERMS, "repeat": {"pattern": "0 0 * * *"}})
    await _ask(house, "DELETE", "/update-all", 200)
    assert await _ask(house, "GET", "", 200) == {"schedules": []}
    for method in ("GET", "DELETE"):
        assert (await _ask(house, method, "/update-all", 404))["code"] == "unknown-job"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/a%20b", TERMS),
        ("/x", {**TERMS, "repeat": {"every": 1}}),
        ("/x", {**TERMS, "repeat": {"pattern": "soon"}}),
        ("/x", {**TERMS, "repeat": {"pattern": "0 0 * * *", "tz": "Nowhere"}}),
        ("/x", {**TERMS, "often": True}),
        ("/x", {"repeat": {"every": 1000}}),
        ("/x", []),
    ],
)
async def test_what_cannot_be_a_schedule_is_refused_at_the_door(house: Served, path: str, body: Any) -> None:
    answer = await _ask(house, "PUT", path, 400, body)
    assert answer["code"] == "bad-request"
    assert any(word in answer["message"].lower() for word in ("expected", "pattern"))


async def test_a_queue_shows_its_throughput_where_it_is_known(house: Served, redis_server: RedisServer) -> None:
    async with http(house.url) as client:
        assert (await client.get("/api/v1/queues/prices")).json()["throughput"] == {}
        with redis_server.client() as redis:
            seconds = redis.time()[0]
            redis.hset(
                "bull:prices:metrics:completed", mapping={"count": 90, "prevTS": seconds * 1000, "prevCount": 90}
            )
            redis.lpush("bull:prices:metrics:completed:data", *[30] * 3)
        told = (await client.get("/api/v1/queues/prices")).json()["throughput"]
    assert 15 < told["completedPerMinute"] <= 30
    assert (told["failedPerMinute"], told["wait"]) == (0, 0)


async def test_the_command_adds_lists_and_removes(gateway: GatewayProcess, capsys: pytest.CaptureFixture[str]) -> None:
    async def say(*args: str) -> tuple[int, str, str]:
        code = await asyncio.to_thread(main, ["schedule", *args, "--url", gateway.url])
        return code, *capsys.readouterr()

    cron = ("--cron", "0 0 * * *", "--tz", "Europe/Berlin", "--data", '{"days": 30}')
    code, out, _ = await say("add", "maintenance", "clean-up", "cleanup", *cron)
    assert code == 0
    assert "clean-up  cleanup  0 0 * * * Europe/Berlin  next 2" in out
    _, out, _ = await say("list", "maintenance", "--json")
    assert json.loads(out)["data"] == {"days": 30}
    assert (await say("list", "maintenance"))[1].startswith("clean-up  cleanup")
    assert (await say("remove", "maintenance", "clean-up"))[:2] == (0, "clean-up removed\n")
    code, _, err = await say("remove", "maintenance", "clean-up")
    assert (code, "no schedule" in err) == (1, True)
    code, _, err = await say("add", "maintenance", "x", "cleanup", "--every", "5")
    assert (code, "every" in err) == (2, True)
