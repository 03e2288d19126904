"""A gateway that runs out of descriptors: it says so, stays observable, and serves again when there is room."""

import asyncio
import re
import socket
import time
from contextlib import ExitStack

import httpx
import pytest

from tests.gateway.crowd import LIMITED, close, crowd, descriptors, dial
from tests.gateway.events import queued, started
from tests.gateway.listeners import WebSocketListener
from tests.gateway.support import GatewayProcess, core, http, until_ready, upgrade
from tests.support.waiting import wait_until


@pytest.fixture
def limited(children: ExitStack, redis_url: str) -> GatewayProcess:
    """A gateway with 256 descriptors."""
    child = children.enter_context(GatewayProcess(redis_url, before=LIMITED))
    children.callback(lambda: print(child.report))
    return child


async def answer(connection: socket.socket) -> bytes:
    """The head of what the gateway says; empty when it only hangs up."""
    try:
        return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(connection, 4096), 8)
    except ConnectionError:
        return b""


async def healthy(url: str) -> bool:
    try:
        async with http(url) as client:
            return (await client.get("/healthz")).status_code == 200
    except httpx.TransportError:
        return False


async def test_with_256_descriptors_300_websockets_are_served_or_told_to_come_again_and_health_answers(
    limited: GatewayProcess, redis_url: str
) -> None:
    await until_ready(limited)
    port = limited.port
    asking = upgrade(port)
    async with WebSocketListener.to(limited.url) as first, core(redis_url) as parts:
        await first.until("connected")
        before = descriptors(limited.pid)
        async with crowd(300, lambda: asyncio.ensure_future(dial(port, said=asking))) as sockets:
            heads = await asyncio.gather(*map(answer, sockets))
            counts = {kind: sum(head.startswith(kind) for head in heads) for kind in (b"HTTP/1.1 101", b"HTTP/1.1 503")}
            refused = [head for head in heads if head.startswith(b"HTTP/1.1 503")]
            print(f"of 300: {counts}, {heads.count(b'')} hung up on; {descriptors(limited.pid)} descriptors")
            assert counts[b"HTTP/1.1 101"] >= 100
            assert refused
            assert all(re.search(rb"\r\nRetry-After: [1-4]\r\n", head) for head in refused)
            assert await healthy(limited.url)
            async with http(limited.url) as client:
                late = await client.get("/api/v1/jobs/j")
            assert (late.status_code, late.json()["code"]) == (503, "unavailable")
            assert 1 <= int(late.headers["retry-after"]) <= 4
            # Who was served before is served on, with all a new watch needs of Redis.
            assert (await first.call("subscribe-to-job", "j"))["ok"]
            await parts.journal.append(queued("j"))
            await first.until_seq(1)
            close(sockets)
            start = time.monotonic()

            async def served() -> bool:
                async with http(limited.url) as client:
                    return (await client.get("/api/v1/queues/demo")).status_code != 503

            await wait_until(served, 2, "service")
            async with crowd(100, lambda: asyncio.ensure_future(dial(port, said=asking))) as again:
                heads = await asyncio.gather(*map(answer, again))
                assert all(head.startswith(b"HTTP/1.1 101") for head in heads)
                print(f"full service {time.monotonic() - start:.2f} s after they were closed")
                assert time.monotonic() - start <= 2
        await parts.journal.append(started("j"))
        await first.until_seq(2)
        await wait_until(lambda: descriptors(limited.pid) <= before + 4, 3, "the descriptors to be free again")
    limited.check_log()


async def test_with_256_descriptors_300_silent_connections_do_not_hide_health(limited: GatewayProcess) -> None:
    await until_ready(limited)
    async with crowd(300, lambda: asyncio.ensure_future(dial(limited.port))) as sockets:
        start = time.monotonic()
        await wait_until(lambda: healthy(limited.url), 3, "health")
        print(f"health answers after {time.monotonic() - start:.2f} s; {descriptors(limited.pid)} descriptors")
        close(sockets)
        start = time.monotonic()
        async with WebSocketListener.to(limited.url) as listener:
            await listener.until("connected")
        assert time.monotonic() - start <= 2
    limited.check_log()
