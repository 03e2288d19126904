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


MADE = """
from functools import partial
from jobcast import Registry, SyncContext, include

def dig(depth: int, ctx: SyncContext) -> int:
    return depth

registry = Registry()
registry.add("made", "dig", partial(dig, 7))
include(registry)
"""


async def test_a_module_may_bring_a_registry_that_a_function_made(here: Here) -> None:
    here.write("made.py", MADE)
    port = free_port()
    up = here.up("--module", "made", port=port)
    await up.says("up at", 20)
    submit = here.start("submit", "made", "dig", "--follow", "--json", "--url", f"http://127.0.0.1:{port}")
    assert await submit.exited() == 0
    assert json.loads(submit.stdout.splitlines()[-1])["result"] == 7
    assert up.stop() == 0


TWICE = """
from jobcast import Context, job

@job("demo", "simulate")
async def ours(ctx: Context) -> None: ...
"""


@pytest.mark.parametrize("command", ["worker", "up"])
@pytest.mark.parametrize("name", ["nope", "nope.py", "mine.nope", "mine.py", "package.nope", "twice"])
async def test_a_module_that_cannot_be_had_is_one_sentence_and_exit_code_2(here: Here, command: str, name: str) -> None:
    here.write("twice.py", TWICE)
    (here.directory / "package").mkdir()
    here.write("package/__init__.py", "")
    child = here.up("--module", name) if command == "up" else here.start(command, "--module", name)
    assert await child.exited(20) == 2
    assert "Traceback" not in child.stderr
    said = [line for line in child.stderr.splitlines() if line.startswith("jobcast: ")]
    assert "already has the handler" in said[0] if name == "twice" else f"got {name!r}" in said[0]
    if command == "up" and name not in {"package.nope", "twice"}:
        assert len(said) == 1
        assert not (here.directory / "data").exists(), "it is told before anything starts"


async def test_a_worker_for_production_serves_the_user_s_jobs_alone(here: Here, redis_url: str) -> None:
    worker = here.start("worker", "--module", "mine", "--no-shipped", "--redis", redis_url)
    await worker.says("worker ready")
    assert "dig" in worker.stderr
    assert "simulate" not in worker.stderr
    assert "checksum-tree" not in worker.stderr
    assert worker.stop() == 0


async def test_up_passes_it_on_and_proposes_no_job_nobody_serves(here: Here) -> None:
    up = here.up("--module", "mine", "--no-shipped")
    await up.says("up at", 20)
    await up.says("worker ready")
    assert "dig" in up.stderr
    assert "simulate" not in up.stderr + up.stdout
    assert up.stop() == 0


@pytest.mark.parametrize("command", ["worker", "up"])
async def test_a_worker_with_nothing_to_work_for_is_refused(here: Here, command: str) -> None:
    child = here.up("--no-shipped") if command == "up" else here.start(command, "--no-shipped")
    assert await child.exited(20) == 2
    assert "nothing to work for" in child.stderr
    assert not (here.directory / "data").exists()
