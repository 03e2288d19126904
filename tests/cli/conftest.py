"""A directory of the user's, with a module of their own jobs in it."""

import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.processes import ChildProcess, clean_environment

MINE = """
import graphlib, pathlib, time
from jobcast import Context, SyncContext, job

@job("mine", "dig")
async def dig(ctx: Context) -> list[str]:
    return list(graphlib.TopologicalSorter({"b": {"a"}}).static_order())

@job("mine", "stuck-once")
def stuck_once(ctx: SyncContext) -> str:
    if pathlib.Path("stuck").exists():
        return "not again"
    pathlib.Path("stuck").touch()
    time.sleep(60)
"""


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

    def up(self, *args: str, port: int = 0, how: str = "-Pm", env: dict[str, str] | None = None) -> ChildProcess:
        return self.start("up", "--port", str(port), "--data", str(self.directory / "data"), *args, how=how, env=env)


@pytest.fixture
def here(tmp_path: Path, children: ExitStack) -> Here:
    here = Here(tmp_path, children)
    here.write("mine.py", MINE)
    return here
