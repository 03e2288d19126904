"""Jobs of the user's own: where their modules are found, and what stands beside them there."""

import json
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.processes import ChildProcess, clean_environment
from tests.support.waiting import free_port

MINE = """
import graphlib
from jobcast import Context, job

@job("mine", "dig")
async def dig(ctx: Context) -> list[str]:
    return list(graphlib.TopologicalSorter({"b": {"a"}}).static_order())
"""
HOSTILE = "raise SystemExit('a file of the user stood in for a library')\n"


class Here:
    """A directory of the user's, and jobcast started in it as its script starts it, or as a module."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self._stack = stack

    def write(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text)

    def start(self, *args: str, how: str = "-Pm", env: dict[str, str] | None = None) -> ChildProcess:
        command = [sys.executable, how, "jobcast.cli", *args]
        child = ChildProcess(command, env={**clean_environment(), **(env or {})}, cwd=self.directory)
        self._stack.enter_context(child)
        self._stack.callback(lambda: print(child.report))
        return child

    def up(self, *args: str, port: int = 0, how: str = "-Pm") -> ChildProcess:
        return self.start("up", "--port", str(port), "--data", str(self.directory / "data"), *args, how=how)


@pytest.fixture
def here(tmp_path: Path, children: ExitStack) -> Here:
    here = Here(tmp_path, children)
    here.write("mine.py", MINE)
    return here


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
