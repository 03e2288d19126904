"""Jobs of the user's own: where their modules are found, and what stands beside them there."""

import json

import pytest

from tests.cli.conftest import Here
from tests.support.waiting import free_port

HOSTILE = "raise SystemExit('a file of the user stood in for a library')\n"


@pytest.fixture
def hostile(here: Here) -> None:
    """Names of libraries that are loaded early, late, and by the user's own module."""
    for name in ("redis", "click", "httpx", "uvloop", "worker", "graphlib", "json"):
        here.write(f"{name}.py", HOSTILE)


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize("how", ["-Pm", "-m"])
async def test_a_worker_takes_no_file_beside_a_module_for_a_library(here: Here, redis_url: str, how: str) -> None:
    worker = here.start("worker", "--module", "mine", "--redis", redis_url, how=how)
    await worker.says("worker ready")
    assert "dig" in worker.stderr
    assert worker.stop() == 0


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize("how", ["-Pm", "-m"])
async def test_nothing_that_up_starts_takes_it_for_one(here: Here, how: str) -> None:
    port = free_port()
    up = here.up("--module", "mine", port=port, how=how)
    await up.says("up at", 20)
    submit = here.start("submit", "mine", "dig", "--follow", "--json", "--url", f"http://127.0.0.1:{port}")
    assert await submit.exited() == 0
    assert json.loads(submit.stdout.splitlines()[-1])["result"] == ["a", "b"]
    assert up.stop() == 0
