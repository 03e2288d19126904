"""Who opens a connection and does not go on is closed within its figure, and real clients are served meanwhile."""

import asyncio
import socket
import time

from tests.gateway.conftest import StartGateway
from tests.gateway.crowd import descriptors, dial, ended, gauge
from tests.gateway.events import progressed, queued, started
from tests.gateway.listeners import WebSocketListener
from tests.gateway.support import core, frame, until_ready, upgrade
from tests.support.waiting import wait_until

ATTACKERS = 100
FIGURES = {
    "a silent connection": 5.0,
    "a header that never ends": 5.0,
    "a WebSocket that never says CONNECT": 5.0,
    "a slow body": 2.0,
}
SLACK = 0.7
"""Seconds the client's own hundreds of sockets, the wheel's tick and a busy machine may add."""


def idle(port: int, kind: str) -> bytes:
    """What each says before it says no more."""
    host = f"Host: 127.0.0.1:{port}\r\n"
    return {
        "a silent connection": b"",
        "a header that never ends": f"GET /healthz HTTP/1.1\r\n{host}".encode(),
        "a WebSocket that never says CONNECT": upgrade(port, "/socket.io/?EIO=4&transport=websocket"),
        "a slow body": f"POST /api/v1/jobs HTTP/1.1\r\n{host}Content-Length: 1000\r\n\r\n".encode(),
    }[kind]


DRIP = {
    "a header that never ends": b"X-More: 1\r\n",
    "a slow body": b" ",
    "a WebSocket that never says CONNECT": frame("3"),
}
"""What each goes on to say, now and then: a deadline is for the whole, not for the next byte."""


async def test_a_hundred_of_each_that_do_not_go_on_are_closed_within_the_figure_and_a_client_is_served_throughout(
    start_gateway: StartGateway, redis_url: str
) -> None:
    gateway = start_gateway(redis_url, env={"JOBCAST_BODY_DEADLINE": str(FIGURES["a slow body"])})
    await until_ready(gateway)

    async def lasts(kind: str) -> float:
        connection = await dial(gateway.port, said=idle(gateway.port, kind))
        start = time.monotonic()
        dripping = asyncio.create_task(_drip(connection, DRIP.get(kind, b"")))
        try:
            await asyncio.wait_for(ended(connection), 15)
            return time.monotonic() - start
        finally:
            dripping.cancel()
            await asyncio.gather(dripping, return_exceptions=True)
            connection.close()

    async with WebSocketListener.to(gateway.url) as real, core(redis_url) as parts:
        assert (await real.call("subscribe-to-job", "j"))["ok"]
        await parts.journal.append(queued("j"))
        await parts.journal.append(started("j"))
        before = descriptors(gateway.pid)
        attack = asyncio.gather(*(lasts(kind) for kind in FIGURES for _ in range(ATTACKERS)))
        seq, slowest = 2, 0.0
        while not attack.done():
            start = time.monotonic()
            seq += 1
            await parts.journal.append(progressed("j", seq % 100))
            await real.until_seq(seq, 2)
            slowest = max(slowest, time.monotonic() - start)
            await asyncio.sleep(0.1)
        lasted = await attack
        for number, (kind, figure) in enumerate(FIGURES.items()):
            ours = sorted(lasted[number * ATTACKERS : (number + 1) * ATTACKERS])
            print(f"{kind}: closed after {ours[0]:.2f} to {ours[-1]:.2f} s")
            assert ours[0] >= figure - 0.2, kind
            assert ours[-1] <= figure + SLACK, kind
        print(f"an event took {slowest * 1000:.0f} ms at most")
        assert real.seqs == list(range(1, seq + 1))
        await wait_until(lambda: descriptors(gateway.pid) <= before + 1, 3, "their descriptors to be free")
        assert await gauge(gateway.url, "jobcast_clients") == 1
    gateway.check_log()


async def _drip(connection: socket.socket, data: bytes) -> None:
    while data:
        await asyncio.sleep(0.5)
        await asyncio.get_running_loop().sock_sendall(connection, data)
