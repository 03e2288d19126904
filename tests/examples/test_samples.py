"""What every sample does where nothing runs yet: it says so."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import clean_environment

SYSTEMS = ("trading_records", "exchange_sync", "market", "wallet_analysis", "copy_trading")


@pytest.mark.parametrize("system", SYSTEMS)
async def test_a_sample_that_finds_no_redis_says_so_in_a_sentence(system: str, tmp_path: Path) -> None:
    run = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", f"examples.{system}.sample"],
        env={
            **clean_environment(),
            "JOBCAST_REDIS_URL": "redis://127.0.0.1:1",
            "EXAMPLE_DATABASE": str(tmp_path / "e.sqlite3"),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 1
    assert "Traceback" not in run.stderr, run.stderr
    assert run.stderr.splitlines()[-1].startswith("sample: ")
