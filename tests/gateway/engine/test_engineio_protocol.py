"""Engine.IO v4: every case of the official protocol suite.

The Socket.IO suite asks most of them again of its own path, so they are asked of both.
"""

import asyncio
import json

import pytest

from tests.gateway.engine.raw import Wire
from tests.gateway.engine.support import (
    ENGINE,
    SOCKET,
    ConformanceServer,
    Polling,
    fails_on_stock,
    http,
    status_of,
    upgraded,
    websocket,
)

EVEN = 0.1
"""Seconds of grace beside a timer of the server's: its clock began before the test's."""
TERMS = {"pingInterval": 300, "pingTimeout": 200, "maxPayload": 1_000_000}

on_both_paths = pytest.mark.parametrize("path", [ENGINE, SOCKET])


async def status(server: ConformanceServer, path: str, method: str = "GET") -> int:
    async with http(f"http://127.0.0.1:{server.port}") as client:
        return (await client.request(method, path)).status_code


async def is_refused(server: ConformanceServer, path: str) -> bool:
    """Whether an upgrade is refused, or taken only to be closed, as Node does it."""
    async with Wire.to(server.port) as wire:
        answer = await wire.upgrade(path)
        if answer is not None and answer.status == 101:
            await asyncio.wait_for(wire.reader.read(), 0.5)
        return answer is None or answer.status in {101, 400, 403}


async def check_answers(wire: Wire, path: str) -> None:
    """The session lives, and the next it says is an answer."""
    if path == ENGINE:
        await wire.send_packets("4hello")
        assert await wire.packet() == "4hello"
    else:
        await wire.send_packets("40")
        assert str(await wire.packet()).startswith("40{")
        assert str(await wire.packet()).startswith("42[")
        await wire.send_packets("41")


# Handshake.


@on_both_paths
@fails_on_stock("pings are told in whole seconds: 300 ms as 0")
async def test_polling_opens_a_session_and_says_its_terms(server: ConformanceServer, path: str) -> None:
    async with Polling.to(server.port, path) as session:
        assert isinstance(session.handshake.pop("sid"), str)
        assert session.handshake == {"upgrades": ["websocket"], **TERMS}


@on_both_paths
async def test_polling_without_a_known_protocol_version_is_refused(server: ConformanceServer, path: str) -> None:
    for query in ("?transport=polling", "?EIO=abc&transport=polling"):
        assert await status(server, path + query) == 400


@on_both_paths
@fails_on_stock("no transport is polling")
async def test_a_request_without_a_known_transport_is_refused(server: ConformanceServer, path: str) -> None:
    for query in ("?EIO=4&transport=abc", "?EIO=4"):
        assert await status(server, path + query) == 400


@on_both_paths
@fails_on_stock("PUT is answered 405")
async def test_a_handshake_by_another_method_than_get_is_refused(server: ConformanceServer, path: str) -> None:
    for method in ("POST", "PUT"):
        assert await status(server, f"{path}?EIO=4&transport=polling", method) == 400


@on_both_paths
@fails_on_stock("pings are told in whole seconds: 300 ms as 0")
async def test_websocket_opens_a_session_and_says_its_terms(server: ConformanceServer, path: str) -> None:
    async with Wire.to(server.port) as wire:
        answer = await wire.upgrade(f"{path}?EIO=4&transport=websocket")
        assert answer is not None
        assert answer.status == 101
        packet = str(await wire.packet())
    assert packet[0] == "0"
    handshake = json.loads(packet[1:])
    assert isinstance(handshake.pop("sid"), str)
    assert handshake == {"upgrades": [], **TERMS}


@on_both_paths
async def test_websocket_without_a_known_protocol_version_is_refused(server: ConformanceServer, path: str) -> None:
    for query in ("?transport=websocket", "?EIO=abc&transport=websocket"):
        assert await is_refused(server, path + query)


@on_both_paths
async def test_an_upgrade_without_a_known_transport_is_refused(server: ConformanceServer, path: str) -> None:
    for query in ("?EIO=4&transport=abc", "?EIO=4"):
        assert await is_refused(server, path + query)


# Messages.


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param("4hello", id="one text packet"),
        pytest.param("4test1\x1e4test2\x1e4test3", id="several text packets"),
        pytest.param("4hello\x1ebAQIDBA==", id="text and binary packets"),
    ],
)
@fails_on_stock("a payload is taken with OK where the protocol says ok")
async def test_polling_sends_and_receives_a_payload(server: ConformanceServer, payload: str) -> None:
    async with Polling.to(server.port) as session:
        pushed = await session.post(payload)
        assert (pushed.status_code, pushed.text) == (200, "ok")
        polled = await session.get()
        assert (polled.status_code, polled.text) == (200, payload)


@fails_on_stock("what is no packet is taken with OK")
async def test_what_is_no_packet_closes_a_polling_session(server: ConformanceServer) -> None:
    async with Polling.to(server.port) as session:
        assert await status_of(session.post("abc")) in {400, None}
        assert (await session.get()).status_code == 400


@fails_on_stock("every poll is held")
async def test_a_second_poll_beside_the_first_closes_the_session(server: ConformanceServer) -> None:
    async with Polling.to(server.port) as session:
        first = asyncio.create_task(session.get())
        await asyncio.sleep(0.02)
        second, released = await asyncio.gather(session.get(), first)
        assert second.status_code in {400, 500}
        assert (released.status_code, released.text) == (200, "1")
        assert (await session.get()).status_code == 400


@fails_on_stock("a poll that was cancelled waits on, and takes what the next should have had")
async def test_a_poll_that_is_cancelled_closes_the_session(server: ConformanceServer) -> None:
    async with Polling.to(server.port) as session:
        poll = asyncio.create_task(session.get())
        await asyncio.sleep(0.02)
        poll.cancel()
        await asyncio.gather(poll, return_exceptions=True)
        await asyncio.sleep(0.02)
        async with asyncio.timeout(0.2):
            assert (await session.get()).status_code == 400


async def test_websocket_sends_and_receives_a_text_packet(server: ConformanceServer) -> None:
    async with websocket(server.port) as wire:
        await wire.send_packets("4hello")
        assert await wire.packet() == "4hello"


async def test_websocket_sends_and_receives_a_binary_packet(server: ConformanceServer) -> None:
    async with websocket(server.port) as wire:
        await wire.send_packets(b"\x01\x02\x03\x04")
        assert await wire.packet() == b"\x01\x02\x03\x04"


async def test_what_is_no_packet_closes_a_websocket_session(server: ConformanceServer) -> None:
    async with websocket(server.port) as wire:
        await wire.send_packets("abc")
        assert await wire.end() is not None


# Heartbeat.


@on_both_paths
async def test_polling_is_pinged_and_a_pong_keeps_the_session(server: ConformanceServer, path: str) -> None:
    async with Polling.to(server.port, path) as session:
        for _ in range(3):
            polled = await session.get()
            assert (polled.status_code, polled.text) == (200, "2")
            assert (await session.post("3")).status_code == 200


@on_both_paths
@fails_on_stock("time-outs are looked for now and then", steadily=False)
async def test_polling_without_a_pong_is_closed_when_its_time_is_up(server: ConformanceServer, path: str) -> None:
    async with Polling.to(server.port, path) as session:
        await asyncio.sleep(0.5 + EVEN)
        assert (await session.get()).status_code == 400


@on_both_paths
async def test_websocket_is_pinged_and_a_pong_keeps_the_session(server: ConformanceServer, path: str) -> None:
    async with websocket(server.port, path) as wire:
        for _ in range(3):
            async with asyncio.timeout(0.3 + 3 * EVEN):
                assert await wire.bare_packet() == "2"
            await wire.send_packets("3")


@on_both_paths
@fails_on_stock("time-outs are looked for now and then", steadily=False)
async def test_websocket_without_a_pong_is_closed_when_its_time_is_up(server: ConformanceServer, path: str) -> None:
    async with websocket(server.port, path) as wire, asyncio.timeout(0.5 + 3 * EVEN):
        while await wire.bare_packet() is not None:
            pass


# Close.


@on_both_paths
@fails_on_stock("the poll is answered 400")
async def test_a_close_packet_by_polling_releases_the_poll_and_ends_the_session(
    server: ConformanceServer, path: str
) -> None:
    async with Polling.to(server.port, path) as session:
        poll = asyncio.create_task(session.get())
        await asyncio.sleep(0.02)
        assert (await session.post("1")).status_code == 200
        released = await poll
        assert (released.status_code, released.text) == (200, "6")
        assert (await session.get()).status_code == 400


@on_both_paths
@fails_on_stock("the connection is kept until a ping would time out")
async def test_a_close_packet_by_websocket_ends_the_connection(server: ConformanceServer, path: str) -> None:
    async with websocket(server.port, path) as wire:
        await wire.send_packets("1")
        assert await wire.end(0.4) is not None


# Upgrade.


@on_both_paths
@fails_on_stock("the noop meant for the poll is said on the WebSocket too")
async def test_a_session_moves_from_polling_to_websocket(server: ConformanceServer, path: str) -> None:
    async with Polling.to(server.port, path) as session, Wire.to(server.port) as wire:
        answer = await wire.upgrade(session.upgrade_path)
        assert answer is not None
        assert answer.status == 101
        await wire.send_packets("2probe")
        assert await wire.packet() == "3probe"
        polled = await session.get()
        assert (polled.status_code, polled.text) == (200, "6")
        await wire.send_packets("5")
        await check_answers(wire, path)


@on_both_paths
@fails_on_stock("the noop meant for the poll is said on the WebSocket too")
async def test_a_poll_of_an_upgraded_session_is_refused_and_the_session_goes_on(
    server: ConformanceServer, path: str
) -> None:
    async with Polling.to(server.port, path) as session, upgraded(session) as wire:
        await check_answers(wire, path)
        assert (await session.get()).status_code == 400
        await check_answers(wire, path)


@on_both_paths
@fails_on_stock("the noop meant for the poll is said on the WebSocket too")
async def test_a_second_websocket_of_an_upgraded_session_is_closed_and_the_session_goes_on(
    server: ConformanceServer, path: str
) -> None:
    async with Polling.to(server.port, path) as session, upgraded(session) as wire:
        async with Wire.to(server.port) as second:
            answer = await second.upgrade(session.upgrade_path)
            assert answer is None or answer.status == 400 or await second.end() is not None
        await check_answers(wire, path)
