"""Clients that send too much, too large or too fast: refused by name, cheap for the gateway, no matter to others."""

import asyncio
import json
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from tests.gateway.conftest import StartGateway
from tests.gateway.crowd import anonymous, answered, close, dial, ended, gauge
from tests.gateway.events import progressed, queued, started
from tests.gateway.listeners import WebSocketListener
from tests.gateway.support import GatewayProcess, core, frame, stalled_socket, until_ready, upgrade

ATTACKERS = 20
PER_ATTACKER = 256 * 1024
CALLS = 3000
SOCKET_IO = "/socket.io/?EIO=4&transport=websocket"
Attack = Callable[[int], Awaitable[socket.socket]]


async def said(connection: socket.socket, timeout: float = 5.0) -> bytes:
    return await asyncio.wait_for(ended(connection), timeout)


def close_code(answer: bytes) -> int:
    """The code of the close frame at the end of what a WebSocket was told."""
    start = answer.rindex(b"\x88", answer.index(b"\r\n\r\n"))
    return int.from_bytes(answer[start + 2 : start + 4], "big")


async def pour(connection: socket.socket, data: bytes, most: int) -> int:
    """Send the same again and again, until it is taken no more; the bytes that were taken."""
    loop, sent = asyncio.get_running_loop(), 0
    try:
        while sent < most:
            await asyncio.wait_for(loop.sock_sendall(connection, data), 0.5)
            sent += len(data)
    except (TimeoutError, ConnectionError):
        pass
    return sent


# Each of these attacks, and leaves its connection open if the gateway does.


async def oversize_head(port: int) -> socket.socket:
    connection = await dial(port, said=b"GET / HTTP/1.1\r\nX: " + b"x" * 16 * 1024)
    assert (await said(connection)).startswith(b"HTTP/1.1 431 ")
    return connection


async def oversize_frame(port: int) -> socket.socket:
    # Announced alone, a byte over: no more than the frame's head is needed to refuse it.
    head = b"\x81\xff" + (64 * 1024 + 1).to_bytes(8, "big") + b"\0\0\0\0"
    connection = await dial(port, said=upgrade(port) + head + b"x" * 1024)
    assert close_code(await said(connection)) == 1009
    return connection


async def oversize_message_in_fragments(port: int) -> socket.socket:
    part = b"\x01\xfe" + (16_000).to_bytes(2, "big") + b"\0\0\0\0" + b"x" * 16_000
    more = b"\x00" + part[1:]
    connection = await dial(port, said=upgrade(port) + part + more * 5)
    assert close_code(await said(connection)) == 1009
    return connection


async def tiny_fragments(port: int) -> socket.socket:
    connection = await dial(port, said=upgrade(port) + b"\x01\x80\0\0\0\0" + b"\x00\x80\0\0\0\0" * 100)
    assert close_code(await said(connection)) == 1008
    return connection


async def ping_flood_unread(port: int) -> socket.socket:
    connection = await stalled_socket(port, upgrade(port))
    await pour(connection, PING * 500, 8 << 20)
    return connection


async def unfinished_attachments(port: int) -> socket.socket:
    attachment = b"\x82\xfe" + (60_000).to_bytes(2, "big") + b"\0\0\0\0" + b"x" * 60_000
    holes = ",".join(f'{{"_placeholder":true,"num":{number}}}' for number in range(10))
    connection = await dial(port, said=upgrade(port, SOCKET_IO) + frame("40") + frame(f'4510-["x",{holes}]'))
    await pour(connection, attachment, 9 * len(attachment))
    await said(connection)
    return connection


async def unfinished_attachments_within_the_limit(port: int) -> socket.socket:
    attachment = b"\x82\xfe" + (6_000).to_bytes(2, "big") + b"\0\0\0\0" + b"x" * 6_000
    connection = await dial(port, said=upgrade(port, SOCKET_IO) + frame("40") + frame('4510-["x"]') + attachment * 9)
    await asyncio.sleep(0.5)
    return connection


async def too_many_attachments(port: int) -> socket.socket:
    connection = await dial(port, said=upgrade(port, SOCKET_IO) + frame("40") + frame('451000-["x"]'))
    await said(connection)
    return connection


async def duplicate_polls(port: int) -> socket.socket:
    first = await dial(port, said=get(port, "/socket.io/?EIO=4&transport=polling"))
    _, handshake = await answered(first)
    path = f"/socket.io/?EIO=4&transport=polling&sid={json.loads(handshake[1:])['sid']}"
    polls = [first, *[await dial(port) for _ in range(4)]]
    for each in polls:
        await asyncio.get_running_loop().sock_sendall(each, get(port, path))
    statuses = [(await answered(each))[0] for each in polls]
    close(polls[1:])
    assert statuses.count(400) == 4, statuses
    return first


def get(port: int, path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()


PING = b"\x89\xfd\0\0\0\0" + b"x" * 125
ATTACKS = [
    oversize_head,
    oversize_frame,
    oversize_message_in_fragments,
    tiny_fragments,
    ping_flood_unread,
    too_many_attachments,
    unfinished_attachments,
    unfinished_attachments_within_the_limit,
    duplicate_polls,
]


@pytest.fixture
async def warm(start_gateway: StartGateway, redis_url: str) -> GatewayProcess:
    """A gateway that has met some of everything: what it needs once is no attacker's."""
    gateway = start_gateway(redis_url, env={"JOBCAST_WRITE_DEADLINE": "60"})
    await until_ready(gateway)
    for path in ("/ws", SOCKET_IO):
        connections = [await dial(gateway.port, said=upgrade(gateway.port, path) + frame("40")) for _ in range(40)]
        await asyncio.sleep(0.2)
        close(connections)
    await asyncio.sleep(0.2)
    return gateway


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
async def test_a_flood_is_refused_and_costs_less_than_256_kib_an_attacker(warm: GatewayProcess, attack: Attack) -> None:
    async with WebSocketListener.to(warm.url) as neighbour:
        before, peak = anonymous(warm.pid), 0
        under_way = asyncio.gather(*(attack(warm.port) for _ in range(ATTACKERS)))
        slowest = 0.0
        try:
            while not under_way.done() or not peak:
                start = time.monotonic()
                assert (await neighbour.call("get-subscriptions"))["ok"]
                slowest = max(slowest, time.monotonic() - start)
                peak = max(peak, anonymous(warm.pid) - before, 1)
                await asyncio.sleep(0.02)
        finally:
            connections = await under_way
        grown = (anonymous(warm.pid) - before) // ATTACKERS
        print(f"{attack.__name__}: {grown // 1024} KiB an attacker, {peak // ATTACKERS // 1024} KiB at most;")
        print(f"a neighbour's call took {slowest * 1000:.0f} ms at most")
        close(connections)
        assert grown < PER_ATTACKER
        assert slowest < 1
    warm.check_log()


async def test_a_client_that_subscribes_without_end_is_capped_and_stays_usable_and_a_neighbour_hears_everything(
    start_gateway: StartGateway, redis_url: str
) -> None:
    gateway = start_gateway(redis_url, env={"JOBCAST_MAX_CALLS": "500"})
    await until_ready(gateway)
    async with (
        core(redis_url) as parts,
        WebSocketListener.to(gateway.url) as neighbour,
        WebSocketListener.to(gateway.url) as flooder,
    ):
        assert (await neighbour.call("subscribe-to-job", "j"))["ok"]
        await parts.journal.append(queued("j"))
        await parts.journal.append(started("j"))
        memory = anonymous(gateway.pid)

        async def flood() -> None:
            for number in range(CALLS):
                await flooder.send("subscribe-to-job", f"id-{number}", number + 1_000_000)

        flooding, seq, slowest = asyncio.create_task(flood()), 2, 0.0
        begun = time.monotonic()
        while len(flooder.named("ack")) < CALLS and time.monotonic() - begun < 20:
            start = time.monotonic()
            seq += 1
            await parts.journal.append(progressed("j", seq % 100))
            await neighbour.until_seq(seq, 2)
            slowest = max(slowest, time.monotonic() - start)
            await asyncio.sleep(0.05)
        await flooding
        grown = anonymous(gateway.pid) - memory
        codes = Counter(answer.get("code", "ok") for answer in flooder.named("ack"))
        print(
            f"{CALLS} calls, answered in {time.monotonic() - begun:.1f} s: {dict(codes)}; grown by {grown // 1024} KiB"
        )
        print(f"a neighbour's event took {slowest * 1000:.0f} ms at most")
        assert codes["ok"] == 200
        assert codes.keys() == {"ok", "too-many-subscriptions", "rate-limited"}
        assert await gauge(gateway.url, "jobcast_watches") == 201
        assert neighbour.seqs == list(range(1, seq + 1))
        assert slowest < 0.5
        # Usable as before: what it watches is told, and it may leave one and watch another.
        await parts.journal.append(queued("id-7"))
        assert (await flooder.until("job-queued"))["jobId"] == "id-7"
        assert (await flooder.call("unsubscribe-from-job", "id-7"))["ok"]
        assert (await flooder.call("subscribe-to-job", "another"))["ok"]
    gateway.check_log()
