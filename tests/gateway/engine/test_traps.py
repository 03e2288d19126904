"""Traps of the stock stack (python-socketio, python-engineio, uvicorn), each asked by one probe of it and of ours.

The stock half shows that the defect is real, ours that it is not ours. Asked elsewhere: what the protocol suites say,
sub-second pings among it, in ``test_engineio_protocol.py`` and ``test_socketio_protocol.py``; every shape of Host,
Origin and X-Forwarded-Host at every door of ours in ``tests/gateway/test_guard.py``; a stop with stalled clients at
every door of ours in ``tests/gateway/test_stop.py``.
"""

import asyncio
import contextlib
import signal

import pytest

from tests.gateway.conftest import StartGateway
from tests.gateway.engine import probes
from tests.gateway.engine.conftest import StartServer
from tests.gateway.engine.raw import Wire
from tests.gateway.engine.support import SOCKET, ConformanceServer, Kind, websocket
from tests.gateway.events import queued, started
from tests.gateway.support import GatewayProcess, Served, core, until_ready

MIB = 1024 * 1024


async def test_a_client_that_reads_nothing_is_freed_after_the_write_deadline(
    kind: Kind, start_server: StartServer
) -> None:
    server = await start_server(kind, ping_interval=0.3, ping_timeout=0.3, write_deadline=0.5)
    assert await probes.is_freed_though_it_does_not_read(server) is (kind == "ours")


async def test_what_a_client_does_not_read_is_bounded(kind: Kind, start_server: StartServer) -> None:
    server = await start_server(kind, ping_interval=20, ping_timeout=20, write_deadline=20)
    growth = await probes.growth_for_an_unread_flood(server, megabytes=20)
    print(f"{kind}: {growth / MIB:.1f} MiB more for 20 MB unread")
    assert growth > 12 * MIB if kind == "stock" else growth < 4 * MIB


async def test_stock_starts_a_task_for_each_recipient_of_an_event(start_server: StartServer) -> None:
    # Ours emits nothing through python-socketio: its fan-out is the hub's, and the next test's.
    server = await start_server("stock", ping_interval=20, ping_timeout=20)
    assert await probes.tasks_of_one_emit(server, recipients=20) >= 20


async def test_an_event_starts_no_task_for_each_of_its_watchers_on_ours(house: Served) -> None:
    port = int(house.url.rpartition(":")[2])
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(20):
            wire = await stack.enter_async_context(websocket(port, SOCKET, connect=True))
            await wire.send_packets('427["subscribe-to-job","j"]')
            while not str(await wire.packet()).startswith("437["):
                pass
        before = most = len(asyncio.all_tasks())
        appending = asyncio.create_task(house.journal.append(queued("j")))
        while not appending.done() or '"job-queued"' not in str(await wire.packet()):
            most = max(most, len(asyncio.all_tasks()))
            await asyncio.sleep(0)
        assert most - before < 10


@pytest.mark.parametrize("packet", ["abc", "42{", '42["x"'])
async def test_what_is_no_packet_closes_its_connection_and_leaves_no_ghost(
    calm_server: ConformanceServer, packet: str
) -> None:
    closed, ghosts = await probes.ghosts_of(calm_server, packet)
    if calm_server.kind == "ours":
        assert (closed, ghosts) == (True, 0)
    else:
        assert ghosts == 1


async def test_a_connection_to_no_namespace_is_closed_after_the_connect_deadline(
    calm_server: ConformanceServer,
) -> None:
    assert await probes.is_closed_without_connect(calm_server) is (calm_server.kind == "ours")


async def test_no_more_than_one_poll_of_a_session_is_held(calm_server: ConformanceServer) -> None:
    assert await probes.polls_held(calm_server, 30) == (0 if calm_server.kind == "ours" else 30)


async def test_attachments_are_not_announced_without_bound(calm_server: ConformanceServer) -> None:
    packet = '451000000000-["message",{"_placeholder":true,"num":0}]'
    assert await probes.is_closed_for(calm_server, packet) is (calm_server.kind == "ours")


async def test_a_message_in_thousands_of_fragments_closes_its_connection(calm_server: ConformanceServer) -> None:
    assert await probes.is_closed_for_fragments(calm_server, 5000) is (calm_server.kind == "ours")


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(["Host: evil.example", "Origin: http://evil.example"], id="a name rebound to this machine"),
        pytest.param(
            ["Host: 127.0.0.1", "Origin: http://evil.example", "X-Forwarded-Host: evil.example"],
            id="a forged X-Forwarded-Host",
        ),
    ],
)
async def test_stock_lets_in_a_page_that_forges_a_header_and_ours_does_not(
    running_stock: ConformanceServer, target: GatewayProcess, headers: list[str]
) -> None:
    request = "\r\n".join([f"GET {SOCKET}?EIO=4&transport=polling HTTP/1.1", *headers, "", ""]).encode()
    assert await probes.answer_to(running_stock.port, request, 1) == 200
    assert await probes.answer_to(target.port, request, 1) == 403


@pytest.mark.parametrize(
    ("sent", "fitting"),
    [
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 300_000, {431}, id="a header too large and never done"
        ),
        pytest.param(b"", {408, "closed"}, id="nothing"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nX", {408, "closed"}, id="a header that ends in the middle"),
    ],
)
async def test_a_request_that_is_never_whole_is_ended_by_its_deadline(
    calm_server: ConformanceServer, sent: bytes, fitting: set[int | str]
) -> None:
    found = await probes.answer_to(calm_server.port, sent, probes.HALF_A_SECOND_AND_SOME)
    assert found in fitting if calm_server.kind == "ours" else found == "waiting"


async def test_a_body_that_is_never_whole_is_ended_by_its_deadline(calm_server: ConformanceServer) -> None:
    found = await probes.end_of_half_a_body(calm_server)
    assert found in {400, 408, "closed"} if calm_server.kind == "ours" else found == "waiting"


async def test_a_stop_does_not_wait_for_a_client_that_reads_nothing(kind: Kind, start_server: StartServer) -> None:
    server = await start_server(kind, ping_interval=20, ping_timeout=20, write_deadline=20, drain=0.5)
    async with probes.stalled(server):
        await server.ask(emit=50_000, times=200)
        await asyncio.sleep(0.2)
        server.signal(signal.SIGTERM)
        with contextlib.suppress(AssertionError):
            await server.exited(2)
        ended = server.exit_code is not None
        server.kill()
    assert ended is (kind == "ours")


async def test_no_compression_is_negotiated(calm_server: ConformanceServer) -> None:
    assert ("permessage-deflate" in await probes.extensions_of(calm_server)) is (calm_server.kind == "stock")


async def test_pongs_that_nobody_reads_are_bounded(kind: Kind, start_server: StartServer) -> None:
    server = await start_server(kind, ping_interval=20, ping_timeout=20, write_deadline=20)
    growth = await probes.growth_for_unread_pongs(server, megabytes=12)
    print(f"{kind}: {growth / MIB:.1f} MiB more for 12 MB of pings")
    assert growth > 4 * MIB if kind == "stock" else growth < 2 * MIB


async def test_a_token_in_a_query_stands_in_the_log_of_stock_and_not_in_ours(
    running_stock: ConformanceServer, target: GatewayProcess
) -> None:
    for port in (running_stock.port, target.port):
        async with Wire.to(port) as wire:
            await wire.upgrade(f"{SOCKET}?EIO=4&transport=websocket&token=hunter22")
        query = f"{SOCKET}?EIO=4&transport=polling&token=hunter22"
        for path in (query, f"{query}&sid=nobody"):
            await probes.answer_to(port, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode(), 1)
    await asyncio.sleep(0.1)
    assert "hunter22" in running_stock.stdout + running_stock.stderr
    assert "hunter22" not in target.stdout + target.stderr


async def test_two_servers_on_one_redis_that_both_follow_it_tell_a_client_twice_on_stock(
    start_server: StartServer, redis_url: str
) -> None:
    servers = [await start_server("stock", redis=redis_url, ping_interval=20, ping_timeout=20) for _ in range(2)]
    async with websocket(servers[0].port, SOCKET, connect=True) as wire:
        await asyncio.sleep(0.3)
        for each in servers:
            await each.ask(emit=3, times=1)
        assert [await wire.packet(), await wire.packet()] == ['42["flood","xxx"]'] * 2


async def test_two_gateways_on_one_redis_tell_each_client_once(start_gateway: StartGateway, redis_url: str) -> None:
    gateways = [start_gateway(redis_url) for _ in range(2)]
    for each in gateways:
        await until_ready(each)
    async with contextlib.AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(websocket(each.port, SOCKET, connect=True)) for each in gateways]
        for wire in wires:
            await wire.send_packets('427["subscribe-to-job","j"]')
            while not str(await wire.packet()).startswith("437["):
                pass
        parts = await stack.enter_async_context(core(redis_url))
        await parts.journal.append(queued("j"))
        await parts.journal.append(started("j"))
        for wire in wires:
            told = []
            with contextlib.suppress(TimeoutError):
                while True:
                    told.append(str(await wire.packet(0.3)))
            assert [sum('"seq":2' in each and "job-queue-to-start" in each for each in told)] == [1], told


@pytest.mark.parametrize("step", [3600, -3600])
async def test_a_step_of_the_wall_clock_disconnects_nobody(kind: Kind, start_server: StartServer, step: int) -> None:
    server = await start_server(kind, ping_interval=0.3, ping_timeout=2)
    survives = await probes.survives_a_step_of_the_clock(server, step)
    assert survives if kind == "ours" or step < 0 else not survives
