"""Redis away at the start and lost later: every door says unavailable, and all comes back by itself."""

import asyncio

import pytest

from jobcast.gateway.app import listen
from jobcast.shared.errors import BadSettings
from tests.conftest import StartRedis
from tests.gateway.conftest import StartGateway
from tests.gateway.events import run_job
from tests.gateway.listeners import SocketIoListener, WebSocketListener
from tests.gateway.support import GatewayProcess, core, http, is_ready, until_ready
from tests.support.waiting import wait_until

JOB = {"queue": "demo", "name": "simulate", "data": {}}
REQUESTS = [
    ("POST", "/api/v1/jobs"),
    ("GET", "/api/v1/jobs?queue=demo"),
    *[("GET", f"/api/v1/jobs/j{below}") for below in ("", "/progress", "/result", "/history", "/events")],
    ("DELETE", "/api/v1/jobs/j"),
    ("POST", "/api/v1/jobs/j/retry"),
    ("GET", "/api/v1/queues"),
    ("GET", "/api/v1/queues/demo"),
    ("GET", "/api/v1/queues/demo/events"),
    ("GET", "/api/v1/jobs/queue/demo/stats"),
    ("GET", "/api/v1/jobs/queue/demo/jobs"),
]
CALLS = [
    ("subscribe-to-job", {"jobId": "j"}),
    ("subscribe-to-queue", {"queueName": "demo"}),
    ("cancel-job", {"jobId": "j"}),
]


async def says_unavailable(gateway: GatewayProcess) -> None:
    """Every route and every call."""
    async with http(gateway.url) as client:
        calls = [client.request(method, path, json=JOB if method == "POST" else None) for method, path in REQUESTS]
        for (method, path), answer in zip(REQUESTS, await asyncio.gather(*calls), strict=True):
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable"), (method, path)
            assert answer.json()["retryable"] is True
            assert int(answer.headers["retry-after"]) >= 1
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/readyz")).status_code == 503
        assert "jobcast_feed_alive 0.0" in (await client.get("/metrics")).text
    async with WebSocketListener.to(gateway.url) as plain, SocketIoListener.to(gateway.url) as socket:
        asked = [listener.call(name, payload) for listener in (plain, socket) for name, payload in CALLS]
        for told in await asyncio.gather(*asked):
            assert (told["ok"], told["code"], told["retryable"]) == (False, "unavailable", True)


async def serves(gateway: GatewayProcess) -> None:
    async with http(gateway.url) as client:
        assert (await client.post("/api/v1/jobs", json=JOB)).status_code == 202
        assert (await client.get("/api/v1/queues/demo")).status_code == 200
    async with WebSocketListener.to(gateway.url) as listener:
        assert (await listener.call("subscribe-to-job", "j"))["ok"]


async def test_a_redis_away_at_the_start_and_lost_later_is_told_by_every_door_and_comes_back(
    start_redis: StartRedis, start_gateway: StartGateway
) -> None:
    server = start_redis()
    server.stop()
    gateway = start_gateway(server.url)

    async def serving() -> bool:
        return "listening" in gateway.stderr and await answers_at_all(gateway)

    await wait_until(serving, 15, "a gateway that serves without Redis")
    await says_unavailable(gateway)
    server.start()
    await until_ready(gateway)
    await serves(gateway)
    async with WebSocketListener.to(gateway.url) as watcher:
        assert (await watcher.call("subscribe-to-job", "w"))["ok"]
        server.kill()

        async def noticed() -> bool:
            return not await is_ready(gateway.url)

        await wait_until(noticed, 4, "readyz to say so")
        server.start()
        await until_ready(gateway)
        await serves(gateway)
        async with core(server.url) as parts:
            await run_job(parts.journal, "w")
        await watcher.until("job-completed")
        assert watcher.applied == [1, 2, 3, 4, 5, 6]
    gateway.check_log()


async def answers_at_all(gateway: GatewayProcess) -> bool:
    async with http(gateway.url) as client:
        return (await client.get("/healthz")).status_code == 200


def test_a_port_in_use_is_told_in_a_sentence() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadSettings, match=f"cannot listen on 127.0.0.1 port {port}: .*choose another"):
            listen("127.0.0.1", port)


def test_an_address_of_another_machine_is_told_in_a_sentence() -> None:
    with pytest.raises(BadSettings, match=r"cannot listen on 192.0.2.1 port 8080"):
        listen("192.0.2.1", 8080)


async def test_a_secret_in_the_redis_url_is_in_no_log(start_redis: StartRedis, start_gateway: StartGateway) -> None:
    server = start_redis()
    gateway = start_gateway(server.url.replace("redis://", "redis://:hunter22@"))
    await gateway.says("the feed from Redis was lost")
    assert "hunter22" not in gateway.report.replace(" ".join(gateway.command), "")
