"""The page's pure modules, run by node's own test runner."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.parametrize("suite", sorted(HERE.glob("*.test.mjs")), ids=lambda suite: suite.name)
def test_pure_modules_of_the_page_pass_their_own_suites(suite: Path) -> None:
    node = shutil.which("node")
    if node is None:
        if os.environ.get("JOBCAST_REQUIRE_ALL") == "1":
            pytest.fail("node is required (JOBCAST_REQUIRE_ALL=1) and not on PATH")
        pytest.skip("node is not on PATH")
    command = [node, "--test", str(suite)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
