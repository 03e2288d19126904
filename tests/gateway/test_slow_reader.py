"""Clients that do not read: what they cost, what they are told afterwards, and when they are let go."""

import asyncio
import json
import socket

from jobcast.gateway.outbox import MARK
from tests.gateway.events import completed, progressed, queued, started
from tests.gateway.listeners import WebSocketListener
from tests.gateway.support import Served, frame, http, served, stalled_socket, upgrade
from tests.support.waiting import wait_until

DETAILS = "x" * 20_000


def port_of(house: Served) -> int:
    return int(house.url.rpartition(":")[2])


async def publish(house: Served, events: int) -> None:
    """Progress of 20 kB each."""
    for number in range(events):
        await house.journal.append(progressed("j", number % 100, details=DETAILS))


def frames(data: bytes) -> list[list[object]]:
    """The text frames of a server, whole ones only."""
    found = []
    while len(data) >= 2:
        length, start = data[1] & 0x7F, 2
        if length == 126:
            length, start = int.from_bytes(data[2:4], "big"), 4
        elif length == 127:
            length, start = int.from_bytes(data[2:10], "big"), 10
        if len(data) < start + length:
            break
        if data[0] == 0x81:
            found.append(json.loads(data[start : start + length]))
        data = data[start + length :]
    return found


async def test_a_reader_that_pauses_costs_little_and_is_sent_the_latest_with_what_was_skipped_declared(
    redis_url: str,
) -> None:
    async with served(redis_url, write_deadline=60) as house, WebSocketListener.to(house.url) as neighbour:
        assert (await neighbour.call("subscribe-to-job", "j"))["ok"]
        await house.journal.append(queued("j"))
        await house.journal.append(started("j"))
        port = port_of(house)
        stalled = await stalled_socket(port, upgrade(port), frame('["subscribe-to-job","j"]'))
        with stalled:
            await wait_until(lambda: house.gateway.clients._hub.metrics.readings._value.get() == 2, 3, "its watch")
            (slow,) = [c for c in house.gateway.clients._open if c.id != neighbour.named("connected")[0]["clientId"]]
            largest = 0
            for _ in range(100):
                await publish(house, 10)
                largest = max(largest, slow.outlet.outbox.size)
            assert MARK // 2 < largest <= MARK + 21_000
            await neighbour.until_seq(1002)
            await house.journal.append(completed("j"))
            data = b""
            while b'"job-completed"' not in data:
                async with asyncio.timeout(10):
                    data += await asyncio.get_running_loop().sock_recv(stalled, 1 << 20)
            told = [(n, p) for n, p in frames(data) if isinstance(p, dict)]
        place = 0
        for name, payload in told:
            if name == "job-snapshot":
                assert payload["seq"] >= place
                place = payload["seq"]
            elif "seq" in payload and payload["seq"] > place:
                assert payload["seq"] == place + 1 + payload.get("skipped", 0)
                place = payload["seq"]
        assert place == 1003
        assert len(told) < 700
        declared = [p for n, p in told if p.get("skipped") or (n == "job-snapshot" and p["seq"] > 2)]
        assert declared, "what was skipped is declared"


async def test_a_websocket_that_never_reads_is_closed_as_slow_and_its_tasks_end(redis_url: str) -> None:
    async with served(redis_url, write_deadline=0.3) as house:
        await house.journal.append(queued("j"))
        await house.journal.append(started("j"))
        port = port_of(house)
        with await stalled_socket(port, upgrade(port), frame('["subscribe-to-job","j"]')):
            await wait_until(lambda: len(house.gateway.clients) == 1, 3, "the client")
            await publish(house, 400)
            await wait_until(lambda: len(house.gateway.clients) == 0, 5, "its end")
            async with http(house.url) as client:
                assert "jobcast_slow_closed_total 1.0" in (await client.get("/metrics")).text
            await wait_until(lambda: not pumps(), 3, "the end of its tasks")


async def test_an_sse_stream_that_is_never_read_is_closed_as_slow(redis_url: str) -> None:
    async with served(redis_url, write_deadline=0.3) as house:
        await house.journal.append(queued("j"))
        await house.journal.append(started("j"))
        port = port_of(house)
        request = f"GET /api/v1/jobs/j/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
        with await stalled_socket(port, request) as stalled:
            assert stalled.family == socket.AF_INET
            await wait_until(lambda: len(house.gateway.clients) == 1, 3, "the client")
            await publish(house, 400)
            await wait_until(lambda: len(house.gateway.clients) == 0, 5, "its end")
            async with http(house.url) as client:
                assert "jobcast_slow_closed_total 1.0" in (await client.get("/metrics")).text


def pumps() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith(("pump-", "calls-"))]
