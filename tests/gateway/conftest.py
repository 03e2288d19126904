"""Gateways to test: one child that all of a module share, and children of a test's own."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import Protocol

import pytest

from tests.gateway.support import Core, GatewayProcess, Served, core, served, until_ready
from tests.support.redis_server import RedisServer


class StartGateway(Protocol):
    """Start a gateway of the test's own."""

    def __call__(self, redis_url: str, *, env: dict[str, str] | None = None) -> GatewayProcess: ...


@pytest.fixture
def start_gateway(children: ExitStack) -> StartGateway:
    def start(redis_url: str, *, env: dict[str, str] | None = None) -> GatewayProcess:
        child = GatewayProcess(redis_url, env)
        children.enter_context(child)
        children.callback(lambda: print(child.report))
        return child

    return start


@pytest.fixture(scope="module")
def shared_child(redis_server: RedisServer) -> Iterator[GatewayProcess]:
    with GatewayProcess(redis_server.url, {"JOBCAST_HEARTBEAT": "0.2"}) as child:
        yield child


@pytest.fixture
async def gateway(shared_child: GatewayProcess, redis_url: str) -> AsyncIterator[GatewayProcess]:
    """The module's gateway, on an empty Redis; after each test its log must be clean."""
    await until_ready(shared_child)
    yield shared_child
    shared_child.check_log()


@pytest.fixture
async def house(redis_url: str) -> AsyncIterator[Served]:
    """A gateway within this process."""
    async with served(redis_url) as running:
        yield running


@pytest.fixture
async def parts(redis_url: str) -> AsyncIterator[Core]:
    """Feed, hub and journal without a door."""
    async with core(redis_url) as running:
        yield running
