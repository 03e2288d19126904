"""``jobcast up``: a Redis of our own, a gateway and a worker, started and stopped as one."""

import asyncio
import contextlib
import errno
import importlib.util
import math
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Final

import click
import httpx

from jobcast.cli import embedded, wording
from jobcast.cli.exits import COMPLETED, FAILED, USAGE, CannotRun
from jobcast.cli.processes import Child, Command, first_to_end
from jobcast.shared.errors import BadSettings
from jobcast.shared.settings import Settings

PATIENT_FOR: Final = 10.0
BEYOND_DRAIN: Final = 10.0
"""Seconds a process is given on top of the drain it was promised: a worker puts back what is left then."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run. ``redis_url`` None: a Redis of our own, with its data in ``data`` (None: the user's own place)."""

    settings: Settings
    redis_url: str | None
    data: Path | None
    modules: Sequence[str]
    shipped: bool = True


def run(plan: Plan) -> int:
    """Start everything, wait for Ctrl-C, SIGTERM or a death, stop everything; returns the exit code.

    Raises:
        BadSettings: a module of the user's is not there.
        CannotRun: something needed is missing or taken; nothing is left running.
    """
    for name in plan.modules:
        _check_module(name)
    port = _free_port(plan.settings.host, plan.settings.port)
    return asyncio.run(_Up(plan, port).run())


def _check_module(name: str) -> None:
    """Look for a module where the worker will, importing nothing; the worker tells what else is wrong with it."""
    top, _, within = name.partition(".")
    try:
        # An empty entry is the working directory, which the worker has last on its path, and we not at all.
        spec = importlib.util.find_spec(top) or PathFinder.find_spec(top, [""])
    except ValueError:  # no name at all
        spec = None
    if spec is None or (within and spec.submodule_search_locations is None):
        hint = "; give its name as Python imports it, without .py" if within == "py" else ""
        raise BadSettings(f"expected a module that can be imported, got {name!r}: there is none of that name{hint}")


def _free_port(host: str, port: int) -> int:
    """``port``, if it can be listened on; a free one for 0. Asked first, so that nothing is started in vain."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            found: int = probe.getsockname()[1]
            return found
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CannotRun(f"port {port} of {host} is in use; choose another with --port") from error
        raise CannotRun(f"cannot listen on {host} port {port}: {error.strerror or error}") from error


class _Up:
    def __init__(self, plan: Plan, port: int) -> None:
        self._plan = plan
        self._port = port
        self._asked = asyncio.Event()
        self._hurry = asyncio.Event()
        self._code = COMPLETED
        self._began = time.monotonic()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._stop_asked)
        # What was entered last is left first: the worker drains while its gateway and Redis still serve.
        async with contextlib.AsyncExitStack() as stack:
            living = asyncio.create_task(self._live(stack))
            asked = asyncio.create_task(self._asked.wait())
            await asyncio.wait({living, asked}, return_when=asyncio.FIRST_COMPLETED)
            asked.cancel()
            living.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await living
        return self._code

    def _stop_asked(self) -> None:
        """Once: stop in order. Twice: in the same order, nothing waited for that can be put back."""
        if self._asked.is_set():
            self._hurry.set()
        else:
            _say("stopping; once more to stop at once")
        self._asked.set()

    async def _live(self, stack: contextlib.AsyncExitStack) -> None:
        """Start all, and return when one has died."""
        children = []
        redis_url = self._plan.redis_url
        if redis_url is None:
            redis, redis_url = await self._start_redis(stack)
            children.append(redis)
        for command in self._services(redis_url):
            child = await Child.start(command)
            stack.push_async_callback(self._stop, child)
            children.append(child)
        announcing = asyncio.create_task(self._announce())
        try:
            child, how = await first_to_end(children)
        finally:
            announcing.cancel()
        # What the user has to mend, the child has said in its own words.
        self._code = USAGE if child.exit_code == USAGE else FAILED
        _complain(f"the {child.name} {how}, so everything is stopped")

    async def _stop(self, child: Child) -> None:
        if not await child.stop(self._hurry):
            self._code = self._code or FAILED
            _complain(f"the {child.name} did not end in time and was killed")

    async def _start_redis(self, stack: contextlib.AsyncExitStack) -> tuple[Child, str]:
        server = embedded.find_server(os.environ)
        data = stack.enter_context(_data_directory(self._plan.data))
        lock = stack.enter_context(embedded.locked(data))
        embedded.check_same_or_newer(server, data)
        listens_at = stack.enter_context(embedded.socket_for(data))
        child, url = await embedded.start(server, data, listens_at, lock)
        stack.push_async_callback(self._stop, child)
        _say(f"jobs are kept in {data} by {server}")
        _say(f"Redis: {url}?db=0")
        return child, url

    def _services(self, redis_url: str) -> tuple[Command, Command]:
        settings = self._plan.settings
        # -P: without it the user's directory comes first on the path, and a redis.py there is taken for the library.
        ours = [sys.executable, "-P", "-m", "jobcast.cli"]
        listening = ["--host", settings.host, "--port", str(self._port)]
        modules = [part for name in self._plan.modules for part in ("--module", name)]
        if not self._plan.shipped:
            modules.append("--no-shipped")
        grace = settings.drain + BEYOND_DRAIN
        return (
            Command("gateway", [*ours, "gateway", *listening, "--redis", redis_url], grace),
            Command("worker", [*ours, "worker", "--redis", redis_url, *modules], grace),
        )

    async def _announce(self) -> None:
        """Say where it is once it can be used, and what is amiss when that takes long."""
        url = self._url()
        async with httpx.AsyncClient(base_url=url, timeout=2.0, trust_env=False) as client:
            while why := await _not_ready(client):
                if time.monotonic() - self._began > PATIENT_FOR:
                    self._began = math.inf
                    _complain(f"the gateway is still not ready: {why}")
                await asyncio.sleep(0.05)
        elsewhere = "" if url == Settings().url else f" --url {url}"
        if not self._plan.shipped:
            _say(f"up at {url}; Ctrl-C stops everything.")
            return
        _say(f"up at {url}; Ctrl-C stops everything. Submit a job with:")
        _say(f"""  {_called()} submit demo simulate --data '{{"steps": 20, "duration": 10}}' --follow{elsewhere}""")

    def _url(self) -> str:
        host = self._plan.settings.host
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  what listens everywhere is asked here
        return f"http://[{host}]:{self._port}" if ":" in host else f"http://{host}:{self._port}"


def _called() -> str:
    """How to call us again: with a virtual environment that is not activated, ``jobcast`` alone is not found."""
    ours = Path(sys.argv[0])
    return "jobcast" if shutil.which("jobcast") or ours.name != "jobcast" else os.path.relpath(ours)


async def _not_ready(client: httpx.AsyncClient) -> str:
    """Empty when the gateway is ready, else what keeps it."""
    try:
        answer = await client.get("/readyz")
    except httpx.HTTPError as error:
        return str(error) or type(error).__name__
    return "" if answer.is_success else wording.inert(answer.text)[:200]


@contextlib.contextmanager
def _data_directory(chosen: Path | None) -> Iterator[Path]:
    """The chosen one, else the user's own, else one that is thrown away: a bare container may have no home."""
    if chosen is not None:
        yield embedded.make_data(chosen)
        return
    try:
        data = embedded.make_data(embedded.default_data(os.environ))
    except CannotRun as why:
        with tempfile.TemporaryDirectory(prefix="jobcast-data-", ignore_cleanup_errors=True) as directory:
            _complain(f"jobs will not be kept after this run ({why}); choose a place with --data")
            yield Path(directory).resolve()
        return
    yield data


def _say(text: str) -> None:
    click.echo(text)
    sys.stdout.flush()


def _complain(text: str) -> None:
    click.echo(f"jobcast: {text}", err=True)
