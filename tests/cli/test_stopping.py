"""The end of `jobcast up` when it is asked for twice: nothing is lost, and nothing is waited for."""

import asyncio
import signal
import sys
import time

import pytest

from jobcast.cli.processes import HURRIED, Child, Command
from tests.cli.conftest import Here
from tests.support.waiting import free_port, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="children are tied to our life by Linux' prctl")

ENDS_AT_THE_SECOND = """
import signal, sys
seen = []
signal.signal(signal.SIGTERM, lambda *_: seen.append(1) or len(seen) > 1 and sys.exit(0))
print("there", file=sys.stderr, flush=True)
while True: signal.pause()
"""
DEAF = """
import signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("there", file=sys.stderr, flush=True)
while True: signal.pause()
"""


async def start(here: Here, program: str) -> Child:
    log = here.directory / "log"
    child = await Child.start(Command("child", [sys.executable, "-c", program], grace=60, log=log))
    await wait_until(lambda: "there" in log.read_text(), 5, "the child's handler")
    return child


async def test_a_hurry_asks_once_more_even_when_it_came_first(here: Here) -> None:
    hurry = asyncio.Event()
    hurry.set()
    began = time.monotonic()
    assert await (await start(here, ENDS_AT_THE_SECOND)).stop(hurry)
    assert time.monotonic() - began < HURRIED


async def test_what_does_not_hear_it_is_killed_a_moment_later(here: Here) -> None:
    child, hurry = await start(here, DEAF), asyncio.Event()
    stopping = asyncio.create_task(child.stop(hurry))
    await asyncio.sleep(0.1)
    began = time.monotonic()
    hurry.set()
    assert not await stopping
    assert HURRIED - 0.5 < time.monotonic() - began < HURRIED + 2


async def test_a_second_ctrl_c_puts_the_jobs_back_and_lets_redis_save_them(here: Here) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    up = here.up("--module", "mine", port=port)
    await up.says("up at", 20)
    assert await here.start("submit", "mine", "stuck-once", "--id", "a-1", "--url", url).exited() == 0
    await wait_until((here.directory / "stuck").exists, 5, "the job's start")
    up.signal(signal.SIGINT)
    await up.says("worker stops")
    up.signal(signal.SIGINT)
    assert await up.exited(10) == 0, "nothing had to be killed"
    assert "bye bye" in (here.directory / "data" / "redis.log").read_text()
    again = here.up("--module", "mine", port=port)
    await again.says("up at", 20)
    # Left to be found, it would wait for its lock's end, half a minute.
    tail = here.start("tail", "a-1", "--url", url)
    assert await tail.exited(10) == 0
    assert "not again" in tail.stdout
    assert again.stop() == 0
