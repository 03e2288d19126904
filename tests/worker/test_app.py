"""The worker as the process it is: start, signals, an end with a deadline."""

import signal
import subprocess
import sys
import textwrap
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from structlog.testing import capture_logs

import jobcast
from jobcast.shared.errors import BadSettings
from jobcast.shared.events import JobFailed
from jobcast.shared.settings import Settings
from jobcast.worker.app import run
from jobcast.worker.modules import load_modules
from jobcast.worker.registry import Registry
from tests.support.processes import ChildProcess, clean_environment
from tests.worker.conftest import Bench

START = """
import os, sys
from jobcast.shared import logs
from jobcast.shared.settings import load
from jobcast.worker.app import run
logs.configure("info", "json")
run(load(os.environ), sys.argv[1:], on_ready=lambda: print("ready", flush=True))
print("ended", flush=True)
"""
JOBS = """
import asyncio, graphlib, time
from jobcast import Context, SyncContext, job

@job("work", "short")
async def short(ctx: Context) -> str:
    await asyncio.sleep(0.5)
    return "done"

@job("work", "stuck")
def stuck(ctx: SyncContext) -> None:
    ctx.log("stuck")
    time.sleep(60)

@job("work", "deaf")
async def deaf(ctx: Context) -> None:
    await ctx.log("deaf")
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass
"""


class Start:
    def __init__(self, children: ExitStack, directory: Path) -> None:
        self._children, self._directory = children, directory

    async def __call__(self, url: str, drain: float) -> ChildProcess:
        (self._directory / "somejobs.py").write_text(textwrap.dedent(JOBS))
        (self._directory / "graphlib.py").write_text("raise SystemExit('a file of the user stood in for a library')")
        env = {**clean_environment(), "JOBCAST_REDIS_URL": url, "JOBCAST_DRAIN": str(drain)}
        command = [sys.executable, "-P", "-c", START, "somejobs"]
        child = self._children.enter_context(ChildProcess(command, env=env, cwd=self._directory))
        self._children.callback(lambda: print(child.report))
        await child.says("ready")
        return child


@pytest.fixture
def start(children: ExitStack, tmp_path: Path) -> Start:
    return Start(children, tmp_path)


async def test_a_signal_lets_what_is_in_hand_finish(bench: Bench, start: Start) -> None:
    child = await start(bench.url, drain=10)
    assert '"handlers": {"demo": ["simulate"], "files": ["checksum-tree", "import-csv"], "work": ' in child.stderr
    job_id = await bench.submit(name="short")
    await bench.seen(job_id, "job-queue-to-start")
    child.signal(signal.SIGTERM)
    assert await child.exited(5) == 0
    assert (await bench.events(job_id))[-1].kind == "job-completed"
    assert "ended" in child.stdout


@pytest.mark.parametrize("name", ["stuck", "deaf"])
async def test_a_handler_that_will_not_end_does_not_keep_the_process(bench: Bench, start: Start, name: str) -> None:
    """Trap 20: close() hung; here the job goes back and the process ends, whatever its handler does."""
    child = await start(bench.url, drain=0.2)
    job_id = await bench.submit(name=name)
    await bench.seen(job_id, "job-log")
    asked = time.monotonic()
    child.signal(signal.SIGTERM)
    assert await child.exited(10) == 0
    assert time.monotonic() - asked < 6
    last = (await bench.events(job_id))[-1]
    assert isinstance(last, JobFailed)
    assert (last.final, last.error.partition(":")[0]) == (False, "WorkerStopped")
    assert await bench.state(job_id) == "delayed"  # due at once: the next worker takes it


async def test_a_second_signal_ends_the_drain(bench: Bench, start: Start) -> None:
    child = await start(bench.url, drain=60)
    job_id = await bench.submit(name="stuck")
    await bench.seen(job_id, "job-log")
    asked = time.monotonic()
    child.signal(signal.SIGINT)
    await child.says("worker stops")
    child.signal(signal.SIGINT)
    assert await child.exited(10) == 0
    assert time.monotonic() - asked < 6


async def test_a_killed_worker_s_job_goes_to_the_next(bench: Bench, start: Start) -> None:
    """Trap 25: what a killed worker held is taken up once its lock is over."""
    child = await start(bench.url, drain=1)
    job_id = await bench.submit(name="stuck")
    await bench.seen(job_id, "job-log")
    child.kill()
    await bench.client.pexpire(f"bull:work:{job_id}:lock", 200)  # not to wait 30 s for it

    @bench.handler(name="stuck")
    async def stuck(_: object) -> str:
        return "by another"

    async with bench.worker():
        events = await bench.ended(job_id)
    assert [(event.kind, event.attempt) for event in events[-2:]] == [("job-queue-to-start", 2), ("job-completed", 2)]


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(BadSettings, match=r"got 'no\.such': No module named 'no'"):
        load_modules(["no.such"])
    with pytest.raises(BadSettings, match=r"without \.py"):
        load_modules(["nosuchjobs.py"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import os\n\n1 / 0\n", r"ZeroDivisionError: division by zero (<file>:3)"),
        (
            "import json\njson.loads('{')\n",
            r"JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1) (<file>:2)",
        ),
        ("x = 1\ny = (\n", "SyntaxError: '(' was never closed (<file>:2)"),
        ("\nimport no_such_library\n", "ModuleNotFoundError: No module named 'no_such_library' (<file>:2)"),
        ("raise SystemExit('usage: jobs')\n", "SystemExit: usage: jobs (<file>:1)"),
        (
            "from jobcast import job\n\n@job('two words', 'x')\ndef go(ctx): ...\n",
            "expected a queue name of 1 to 64 letters, digits and _ . -, got 'two words' (<file>:3)",
        ),
    ],
)
def test_a_mistake_in_a_user_s_module_is_told_as_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    (tmp_path / "brokenjobs.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadSettings) as raised:
        load_modules(["brokenjobs"])
    expected = words.replace("<file>", str(tmp_path / "brokenjobs.py"))
    assert str(raised.value) == f"module brokenjobs cannot be imported: {expected}"


def test_a_file_root_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def serve(*_: object) -> None: ...

    monkeypatch.setattr("jobcast.worker.app._with_signals", serve)
    with capture_logs() as logs:
        run(Settings(file_roots=f"{tmp_path}:{tmp_path / 'gone'}"))
    assert [each["root"] for each in logs if "JOBCAST_FILE_ROOTS" in each["event"]] == [str(tmp_path / "gone")]


def test_nothing_to_do_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    # Another test may have imported a module that declares handlers, and with them this would work for ever.
    monkeypatch.setattr("jobcast.worker.modules.USERS", Registry())
    with pytest.raises(BadSettings, match="nothing to work for"):
        run(Settings(), builtin=False)


def test_registries_are_merged_and_doubles_refused() -> None:
    first, second = Registry(), Registry()
    first.add("q", "a", lambda _: None)
    second.add("q", "b", lambda _: None)
    assert first.merged([second]).names("q") == ["a", "b"]
    second.add("q", "a", lambda _: None)
    with pytest.raises(BadSettings):
        first.merged([second])


def test_the_public_names_are_there_and_load_no_worker_until_asked_for() -> None:
    program = """
import sys, jobcast
assert not [name for name in sys.modules if name.startswith("jobcast.worker")], "a gateway would load the worker"
for name in jobcast.__all__:
    assert getattr(jobcast, name) is not None
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        jobcast.nothing  # noqa: B018
