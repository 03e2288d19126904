"""Two gateways behind a load balancer that remembers nobody: every door but polling may change between them."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.gateway.balancer import Balancer
from tests.gateway.conftest import StartGateway
from tests.gateway.events import completed, logged, queued, started
from tests.gateway.listeners import Listener, SocketIoListener, SseListener, WebSocketListener
from tests.gateway.support import GatewayProcess, core, http, until_ready

JOB = "j"
STREAM = f"/api/v1/jobs/{JOB}/events"
Connect = Callable[[str, Any], contextlib.AbstractAsyncContextManager[Listener]]


@pytest.fixture
async def pair(start_gateway: StartGateway, redis_url: str) -> list[GatewayProcess]:
    gateways = [start_gateway(redis_url, env={"JOBCAST_DRAIN": "3"}) for _ in range(2)]
    for gateway in gateways:
        await until_ready(gateway)
    return gateways


@contextlib.asynccontextmanager
async def plain(url: str, since: Any) -> AsyncIterator[Listener]:
    async with WebSocketListener.to(url) as listener:
        assert (await listener.call("subscribe-to-job", payload(since)))["recovered"] is (since is not None)
        yield listener


@contextlib.asynccontextmanager
async def socketio(url: str, since: Any) -> AsyncIterator[Listener]:
    async with SocketIoListener.to(url) as listener:
        assert (await listener.call("subscribe-to-job", payload(since)))["recovered"] is (since is not None)
        yield listener


@contextlib.asynccontextmanager
async def stream(url: str, since: Any) -> AsyncIterator[Listener]:
    headers = {"Last-Event-ID": f"{since['epoch']}-{since['seq']}"} if since else None
    async with SseListener.to(url, STREAM, headers) as listener:
        yield listener


def payload(since: Any) -> dict[str, Any]:
    return {"jobId": JOB, **({"since": since} if since else {})}


def last_of(listener: Listener) -> dict[str, Any]:
    """The position of the last event it was told."""
    last = next(told for name, told in reversed(listener.told) if name.startswith("job-") and "attempt" in told)
    return {"epoch": last["epoch"], "seq": last["seq"]}


@pytest.mark.parametrize("connect", [plain, socketio, stream])
async def test_a_client_goes_on_at_the_other_gateway_where_it_was_while_the_first_restarts(
    connect: Connect, pair: list[GatewayProcess], redis_url: str
) -> None:
    first, second = pair
    async with core(redis_url) as parts, Balancer.before([first.port, second.port]) as balancer:
        await parts.journal.append(queued(JOB))
        await parts.journal.append(started(JOB))
        async with connect(balancer.url, None) as before:
            await before.until_seq(2)
            await parts.journal.append(logged(JOB, "seen"))
            await before.until_seq(3)
            first.signal(signal.SIGTERM)
            await before.until_ended()
        # Said while nobody listened.
        await parts.journal.append(logged(JOB, "missed"))
        assert await first.exited(5) == 0
        async with connect(balancer.url, last_of(before)) as after:
            await after.until_seq(4)
            await parts.journal.append(completed(JOB))
            await after.until("job-completed")
        assert balancer.taken == [first.port, second.port]
        assert [*before.seqs, *after.seqs] == [2, 3, 4, 5]


@pytest.mark.parametrize("connect", [plain, socketio, stream])
async def test_two_clients_of_one_job_at_two_gateways_are_told_the_same(
    connect: Connect, pair: list[GatewayProcess], redis_url: str
) -> None:
    ports = [gateway.port for gateway in pair]
    async with core(redis_url) as parts, Balancer.before(ports) as balancer:
        await parts.journal.append(queued(JOB))
        async with connect(balancer.url, None) as one, connect(balancer.url, None) as other:
            assert sorted(balancer.taken) == sorted(ports)
            for each in (one, other):
                await each.until_seq(1)
            for event in (started(JOB), logged(JOB, "a line"), completed(JOB)):
                await parts.journal.append(event)
            for each in (one, other):
                await each.until("job-completed")
                assert each.seqs == [1, 2, 3, 4]


async def test_polling_without_stickiness_is_refused_by_name(pair: list[GatewayProcess]) -> None:
    first, second = pair
    async with http(first.url) as one, http(second.url) as other:
        opened = await one.get("/socket.io/", params={"EIO": "4", "transport": "polling"})
        sid = opened.text.partition('"sid":"')[2].partition('"')[0]
        asked = {"EIO": "4", "transport": "polling", "sid": sid}
        for refused in (
            await other.get("/socket.io/", params=asked),
            await other.post("/socket.io/", params=asked, content="40"),
        ):
            assert (refused.status_code, refused.json()) == (400, {"code": 1, "message": "Session ID unknown"})
        # And with it, it is served.
        assert (await one.post("/socket.io/", params=asked, content="40")).status_code == 200
        assert (await asyncio.wait_for(one.get("/socket.io/", params=asked), 5)).status_code == 200
