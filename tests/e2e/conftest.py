"""A gateway and a worker as a user starts them, on the tests' Redis."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import StartJobcast
from tests.support.waiting import free_port, wait_until

TERMINAL = {"completed", "failed", "cancelled"}


@dataclass(frozen=True)
class Stack:
    """What runs: where its gateway listens, and the Redis below."""

    url: str
    redis_url: str
    files: Path

    async def submit(self, queue: str, name: str, data: dict[str, Any], **opts: Any) -> str:
        async with httpx.AsyncClient(base_url=self.url, trust_env=False) as http:
            body = {"queue": queue, "name": name, "data": data, "opts": opts}
            answer = await http.post("/api/v1/jobs", json=body)
            assert answer.status_code == 202, answer.text
            job_id: str = answer.json()["jobId"]
            return job_id

    async def job(self, job_id: str) -> dict[str, Any]:
        async with httpx.AsyncClient(base_url=self.url, trust_env=False) as http:
            found: dict[str, Any] = (await http.get(f"/api/v1/jobs/{job_id}")).json()
            return found

    async def finished(self, job_id: str, timeout: float = 30.0) -> dict[str, Any]:
        async def over() -> Any:
            found = await self.job(job_id)
            return found if found.get("status") in TERMINAL else None

        found: dict[str, Any] = await wait_until(over, timeout, f"the end of job {job_id}")
        return found


@pytest.fixture
async def stack(start_jobcast: StartJobcast, redis_url: str, tmp_path: Path) -> Stack:
    """One gateway and one worker that may read below the test's directory."""
    return await start_stack(start_jobcast, redis_url, tmp_path)


async def start_stack(start_jobcast: StartJobcast, redis_url: str, tmp_path: Path) -> Stack:
    """The same on a Redis of the test's own, to break at will."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    env = {
        "JOBCAST_REDIS_URL": redis_url,
        "JOBCAST_PORT": str(port),
        "JOBCAST_FILE_ROOTS": str(tmp_path),
        "JOBCAST_DRAIN": "5",
    }
    gateway = start_jobcast("gateway", env=env)
    worker = start_jobcast("worker", env=env)
    await gateway.ready(url)
    await worker.says("ready")
    return Stack(url, redis_url, tmp_path)
