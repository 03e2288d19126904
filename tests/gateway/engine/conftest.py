"""Servers for the protocol tests: each test takes ``server`` and runs against the stock stack and against ours.

``-k ours`` and ``-k stock`` choose one. A test that the stock stack fails names the defect in ``fails_on_stock``, and
there asserts that the defect is real: the day it is mended, the test says so.
"""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Protocol

import pytest

from tests.gateway.engine.support import ConformanceServer, Kind
from tests.gateway.support import GatewayProcess, until_ready

TOOK: list[float] = []
"""Seconds to each outcome of malformed input in this run."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TOOK:
        ordered = sorted(TOOK)
        half, most = (1000 * ordered[int(len(ordered) * share)] for share in (0.5, 0.99))
        line = f"{len(TOOK)} malformed inputs: p50 {half:.1f} ms, p99 {most:.1f} ms, most {1000 * ordered[-1]:.1f} ms"
        terminalreporter.write_line(line)


class GetServer(Protocol):
    """A server that others use too."""

    async def __call__(self, kind: Kind, **options: float) -> ConformanceServer: ...


class StartServer(Protocol):
    """Start a server of the test's own; options in seconds."""

    async def __call__(self, kind: Kind, **options: float | str) -> ConformanceServer: ...


@pytest.fixture(scope="module")
def ready_child(shared_child: GatewayProcess) -> GatewayProcess:
    """The module's gateway, its readiness waited for once: hundreds of rows would wait a minute together."""
    asyncio.run(until_ready(shared_child))
    return shared_child


@pytest.fixture
def target(ready_child: GatewayProcess) -> Iterator[GatewayProcess]:
    """A gateway to send anything to; after each test its log must be clean."""
    yield ready_child
    ready_child.check_log()


@pytest.fixture(scope="session")
def running() -> Iterator[GetServer]:
    """One server for each kind and each set of options, kept for the whole run."""
    with ExitStack() as stack:
        started: dict[object, ConformanceServer] = {}

        async def get(kind: Kind, **options: float) -> ConformanceServer:
            key = (kind, *sorted(options.items()))
            if key not in started:
                started[key] = stack.enter_context(ConformanceServer(kind, **options))
            await started[key].up()
            return started[key]

        yield get


@pytest.fixture(params=["stock", "ours"])
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture
async def server(kind: Kind, running: GetServer) -> ConformanceServer:
    """The server of the protocol suites: pings every 300 ms, 200 ms to answer, 1 s to connect to a namespace."""
    return await running(kind)


@pytest.fixture
async def running_stock(running: GetServer) -> ConformanceServer:
    """For what ours is asked of a whole gateway."""
    return await running("stock")


@pytest.fixture
async def calm_server(kind: Kind, running: GetServer) -> ConformanceServer:
    """One whose pings come too late to end anything, so that only its deadlines of half a second can."""
    deadlines = {f"{each}_deadline": 0.5 for each in ("connect", "header", "body", "write")}
    return await running(kind, ping_interval=20, ping_timeout=20, **deadlines)


@pytest.fixture
def start_server(children: ExitStack) -> StartServer:
    async def start(kind: Kind, **options: float | str) -> ConformanceServer:
        child = ConformanceServer(kind, **options)
        children.enter_context(child)
        children.callback(lambda: print(child.report))
        await child.up()
        return child

    return start
