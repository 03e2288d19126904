"""SIGTERM: not ready first, everybody let go, exit code 0 within the drain time and a second."""

import asyncio
import contextlib
import signal
import sys
import time

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus

from tests.gateway.conftest import StartGateway
from tests.gateway.crowd import dial
from tests.gateway.events import progressed, queued, started
from tests.gateway.listeners import Listener, SocketIoListener, SseListener, WebSocketListener
from tests.gateway.support import GatewayProcess, core, frame, stalled_socket, status_of, until_ready, upgrade
from tests.support.processes import ChildProcess, clean_environment
from tests.support.waiting import free_port

CROWD = 200


async def exit_of(gateway: GatewayProcess, timeout: float) -> float:
    """Seconds from SIGTERM to its end, which must be an orderly one."""
    before = time.monotonic()
    gateway.signal(signal.SIGTERM)
    assert await gateway.exited(timeout) == 0, gateway.report
    return time.monotonic() - before


async def test_a_gateway_with_clients_at_every_door_is_gone_at_once(
    start_gateway: StartGateway, redis_url: str
) -> None:
    gateway = start_gateway(redis_url, env={"JOBCAST_DRAIN": "3"})
    await until_ready(gateway)
    async with contextlib.AsyncExitStack() as stack:
        sockets = [
            await stack.enter_async_context(SocketIoListener.to(gateway.url, transport=transport))
            for transport in ("websocket", "polling")
        ]
        plain = await stack.enter_async_context(WebSocketListener.to(gateway.url))
        stream = await stack.enter_async_context(SseListener.to(gateway.url, "/api/v1/jobs/j/events"))
        callers: list[SocketIoListener | WebSocketListener] = [*sockets, plain]
        for caller in callers:
            assert (await caller.call("subscribe-to-job", "j"))["ok"]
        await stream.until("job-snapshot")
        everyone: list[Listener] = [*sockets, plain, stream]
        assert await exit_of(gateway, 6) <= 4
        for listener in everyone:
            await listener.until_ended()
        assert plain.connection.close_code == 1001
    gateway.check_log()


async def test_a_gateway_with_stalled_clients_is_gone_within_the_drain_time_and_a_second(
    start_gateway: StartGateway, redis_url: str
) -> None:
    gateway = start_gateway(redis_url, env={"JOBCAST_DRAIN": "2"})
    await until_ready(gateway)
    port = gateway.port
    sse = f"GET /api/v1/jobs/j/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    requests = [
        (upgrade(port), frame('["subscribe-to-job","j"]')),
        (sse,),
        (
            upgrade(port, "/socket.io/?EIO=4&transport=websocket"),
            frame("40"),
            frame('42["subscribe-to-job","j"]'),
        ),
    ]
    with contextlib.ExitStack() as stack:
        async with core(redis_url) as parts:
            await parts.journal.append(queued("j"))
            await parts.journal.append(started("j"))
            for request in requests:
                stack.enter_context(await stalled_socket(port, *request))
            await asyncio.sleep(0.3)
            for number in range(400):
                await parts.journal.append(progressed("j", number % 100, details="x" * 20_000))
        took = await exit_of(gateway, 10)
        print(f"{took:.2f} s with stalled clients")
        assert took <= 3


async def test_a_gateway_that_stops_says_so_and_takes_nobody_new(start_gateway: StartGateway, redis_url: str) -> None:
    gateway = start_gateway(redis_url)
    await until_ready(gateway)
    async with WebSocketListener.to(gateway.url) as listener:
        await listener.until("connected")
        gateway.signal(signal.SIGTERM)
        await listener.until_ended()
        # Cut off without an answer where it was in the port's queue when that closed.
        with contextlib.suppress(OSError, ConnectionClosed, InvalidStatus, InvalidMessage):
            async with connect(f"ws://127.0.0.1:{gateway.port}/ws", proxy=None) as late:
                await late.recv()
                raise AssertionError("a gateway that stops took another client")
    assert await gateway.exited(5) == 0


async def test_a_gateway_is_not_ready_before_it_lets_go_of_anybody_and_then_lets_them_go_by_and_by(
    start_gateway: StartGateway, redis_url: str
) -> None:
    gateway = start_gateway(redis_url, env={"JOBCAST_DRAIN": "5"})
    await until_ready(gateway)
    closed: list[float] = []
    looks: list[tuple[int, int, int]] = []

    async def stays() -> None:
        async with connect(f"ws://127.0.0.1:{gateway.port}/ws", proxy=None, compression=None) as connection:
            with contextlib.suppress(ConnectionClosed):
                async for _ in connection:
                    here.set()
            closed.append(time.monotonic())

    async def look() -> tuple[int, int, int]:
        """How many were let go before it, and what health and readiness say on connections of their own."""
        gone = len(closed)
        statuses = []
        for path in ("/healthz", "/readyz"):
            head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{gateway.port}\r\n\r\n"
            statuses.append(await status_of(gateway.port, head.encode()))
        return gone, statuses[0], statuses[1]

    clients = []
    for _ in range(CROWD):
        here = asyncio.Event()
        clients.append(asyncio.create_task(stays()))
        await asyncio.wait_for(here.wait(), 5)
    assert await look() == (0, 200, 200)
    start = time.monotonic()
    gateway.signal(signal.SIGTERM)
    with contextlib.suppress(OSError, EOFError):
        while len(closed) < CROWD:
            looks.append(await look())
    assert await gateway.exited(10) == 0, gateway.report
    assert time.monotonic() - start <= 6
    await asyncio.gather(*clients)
    # From the first that was let go on nobody was told that it is ready, and until the last it answered.
    let_go = [each for each in looks if each[0]]
    assert {(health, ready) for _, health, ready in let_go} == {(200, 503)}
    assert let_go[-1][0] >= CROWD / 2
    # 200 in a second: all at once, they would come back elsewhere all at once.
    print(f"{CROWD} let go within {max(closed) - min(closed):.2f} s, {len(let_go)} looks meanwhile")
    assert max(closed) - min(closed) >= 0.8 * (CROWD - 1) / 200
    gateway.check_log()


_FAILS = """
import asyncio, os
from jobcast.gateway.app import serve
from jobcast.gateway.feed import Feed
from jobcast.shared import logs, settings

async def run(self):
    await asyncio.sleep(1)
    raise LookupError("a mistake within a task")

Feed.run = run
logs.configure("info", "json")
serve(settings.load(os.environ))
"""


async def test_a_gateway_one_of_whose_tasks_fails_ends_and_says_so(children: contextlib.ExitStack) -> None:
    port = free_port()
    environment = {**clean_environment(), "JOBCAST_PORT": str(port), "JOBCAST_REDIS_URL": "redis://127.0.0.1:1"}
    gateway = children.enter_context(ChildProcess([sys.executable, "-c", _FAILS], env=environment))
    await gateway.says("listening")
    # Neither a client nor half a request keeps it from ending.
    half = f"POST /api/v1/jobs HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 100\r\n\r\n{{".encode()
    with await dial(port, said=half):
        async with WebSocketListener.to(f"http://127.0.0.1:{port}") as listener:
            assert await gateway.exited(5) == 1, gateway.report
            await listener.until_ended()
    assert "a mistake within a task" in gateway.stderr
    assert "a task of the gateway failed; it ends" in gateway.stderr
