"""What the README of wallet analysis says, done."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import StartJobcast
from tests.examples.wallets import given, surroundings
from tests.support.processes import REPOSITORY, clean_environment
from tests.support.waiting import free_port, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="children are tied to our life by Linux' prctl")


@pytest.fixture(autouse=True)
def _surroundings(redis_binary: Path, tmp_path: Path) -> Iterator[None]:
    """With a Redis on this machine that ``jobcast up`` can start."""
    with surroundings(tmp_path):
        yield


def sample(*args: str, **env: str) -> str:
    command = [sys.executable, "-m", "examples.wallet_analysis.sample", *args]
    environment = {**clean_environment(), **given(), **env}
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True, timeout=30
    ).stdout


async def result(url: str, job_id: str) -> Any:
    async with httpx.AsyncClient(base_url=url, timeout=5, trust_env=False) as http:

        async def is_over() -> bool:
            return bool((await http.get(f"/api/v1/jobs/{job_id}")).json().get("status") in {"completed", "failed"})

        await wait_until(is_over, 20, f"the end of {job_id}")
        job = (await http.get(f"/api/v1/jobs/{job_id}")).json()
        assert job["status"] == "completed", job
        return job["result"]


async def test_the_readme_s_commands_do_what_it_says(start_jobcast: StartJobcast, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{(port := free_port())}"
    where = ("--port", str(port), "--data", str(tmp_path / "data"))
    up = start_jobcast("up", *where, "--module", "examples.wallet_analysis.jobs", env=given())
    await up.says("up at", 30)
    redis = next(line.removeprefix("Redis: ") for line in up.stdout.splitlines() if line.startswith("Redis: "))
    said = [line.split() for line in sample(JOBCAST_REDIS_URL=redis).splitlines()]
    ids = {words[0]: words[1] for words in said[:2]}
    assert " ".join(said[2]) == f"Watch them: jobcast tail {ids['dashboard']} {ids['comparison']}"
    tail = start_jobcast("tail", ids["dashboard"], ids["comparison"], env={"JOBCAST_URL": url})
    compared = await result(url, ids["comparison"])
    assert (len(compared["processed"]), len(compared["failed"]), compared["rate"]) == (6, 1, 0.8571)
    assert (await result(url, ids["dashboard"]))["pnl"]["trades"] > 0
    assert await tail.exited(20) == 0

    tree = tmp_path / "tree.json"
    tree.write_text(sample("--flow"))
    submitted = start_jobcast("submit-flow", f"@{tree}", env={"JOBCAST_URL": url})
    assert await submitted.exited(20) == 0
    again = await result(url, submitted.stdout.strip())
    assert again["pairs"] == compared["pairs"]
