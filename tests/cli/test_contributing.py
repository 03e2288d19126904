"""The worked example of CONTRIBUTING.md does what it says, followed word for word in a copy of the repository."""

import re
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.processes import REPOSITORY, ChildProcess, clean_environment

NEEDED = ("jobcast", "shared", "worker", "gateway", "cli", "tests")


@pytest.fixture
def example() -> tuple[str, str, str]:
    """The three blocks: the handler, its registration, its test."""
    text = (REPOSITORY / "CONTRIBUTING.md").read_text()
    text = text.partition("## A worked example")[2].partition("\n## ")[0]
    handler, registration, test = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    for path in ("worker/handlers/count_lines.py", "worker/handlers/__init__.py", "tests/worker/test_count_lines.py"):
        assert f"`{path}`" in text
    return handler, registration, test


@pytest.mark.usefixtures("redis_binary")
async def test_the_worked_example_works(example: tuple[str, str, str], tmp_path: Path, children: ExitStack) -> None:
    handler, registration, test = example
    ignored = shutil.ignore_patterns("node_modules", "__pycache__")
    for name in NEEDED:
        shutil.copytree(REPOSITORY / name, tmp_path / name, symlinks=True, ignore=ignored)
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    handlers = tmp_path / "worker" / "handlers"
    (handlers / "count_lines.py").write_text(handler)
    (tmp_path / "tests" / "worker" / "test_count_lines.py").write_text(test)
    before, mark, after = (handlers / "__init__.py").read_text().rpartition("    return registry\n")
    assert mark, "where the shipped handlers are registered"
    lines = ("from jobcast.worker.handlers import count_lines\n", before, registration, mark, after)
    (handlers / "__init__.py").write_text("".join(lines))

    command = [sys.executable, "-m", "pytest", "-q", "tests/worker/test_count_lines.py"]
    run = children.enter_context(ChildProcess(command, env=clean_environment(), cwd=tmp_path))
    assert await run.exited(60) == 0, run.report
    assert "1 passed" in run.stdout
