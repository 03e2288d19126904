"""The private Redis of `jobcast up`, as other programs of the user reach it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import jobcast
from tests.cli.conftest import Here
from tests.support.waiting import free_port


@pytest.fixture
def odd_place() -> Iterator[str]:
    """A directory whose name must be quoted in a URL, and short enough for a socket in it."""
    with tempfile.TemporaryDirectory(prefix="a ?b%20#") as directory:
        yield directory


async def test_the_address_up_prints_is_what_a_reporter_takes(
    here: Here, monkeypatch: pytest.MonkeyPatch, odd_place: str
) -> None:
    port = free_port()
    up = here.up(port=port, env={"TMPDIR": odd_place})
    await up.says("up at", 20)
    (url,) = [line.removeprefix("Redis: ") for line in up.stdout.splitlines() if line.startswith("Redis: ")]
    assert url.startswith("unix://")
    assert Path(odd_place).name not in url
    monkeypatch.setenv("JOBCAST_REDIS_URL", url)
    async with jobcast.Reporter.connect(queue="elsewhere", name="nightly", job_id="n-1") as report:
        await report.progress(50)
    tail = here.start("tail", "n-1", "--url", f"http://127.0.0.1:{port}")
    assert await tail.exited() == 0
    assert up.stop() == 0


async def test_of_a_redis_that_was_given_nothing_is_said(here: Here, redis_url: str) -> None:
    up = here.start("up", "--port", "0", "--redis", redis_url)
    await up.says("up at", 20)
    assert "Redis: " not in up.stdout
    assert up.stop() == 0
