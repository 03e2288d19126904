"""The benchmark runs, at its smallest: what it measures is by hand (``make bench``)."""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.parts import require

ROOT = Path(__file__).parent.parent


async def test_the_benchmark_s_publisher_and_clients_still_speak_with_the_journal_and_the_gateway() -> None:
    require(shutil.which("cc"), "its clients are written in C: a C compiler is needed")
    run = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "bench", "--quick", "firehose"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "INVALID" not in run.stdout, run.stdout
    assert "jobcast" in run.stdout
