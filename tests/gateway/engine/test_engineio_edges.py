"""Engine.IO v4 beyond the official suite: what refusals say, requests side by side, upgrades that fail or are slow."""

import asyncio

import httpx
import pytest

from tests.gateway.engine.raw import Wire
from tests.gateway.engine.support import ENGINE, ConformanceServer, Polling, fails_on_stock, http, websocket

POLL = f"{ENGINE}?EIO=4&transport=polling"


@pytest.mark.parametrize(
    ("method", "path", "code", "message"),
    [
        ("GET", f"{ENGINE}?EIO=4&transport=abc", 0, "Transport unknown"),
        ("GET", f"{POLL}&sid=nobody", 1, "Session ID unknown"),
        ("POST", f"{POLL}&sid=nobody", 1, "Session ID unknown"),
        ("POST", POLL, 2, "Bad handshake method"),
        ("GET", f"{ENGINE}?EIO=4&transport=websocket", 3, "Bad request"),
        ("GET", f"{ENGINE}?EIO=3&transport=polling", 5, "Unsupported protocol version"),
    ],
)
@fails_on_stock("a refusal is a text")
async def test_a_refusal_says_its_code_and_its_message(
    server: ConformanceServer, method: str, path: str, code: int, message: str
) -> None:
    async with http(f"http://127.0.0.1:{server.port}") as client:
        answer = await client.request(method, path)
    assert answer.status_code == 400
    assert answer.json() == {"code": code, "message": message}
    assert answer.headers["content-type"].startswith("application/json")


@fails_on_stock("an upgrade of a session that does not exist is refused with 403")
async def test_an_upgrade_of_an_unknown_session_is_refused(server: ConformanceServer) -> None:
    async with Wire.to(server.port) as wire:
        answer = await wire.upgrade(f"{ENGINE}?EIO=4&transport=websocket&sid=nobody")
        assert answer is not None
        assert answer.status == 400


@fails_on_stock("posts are taken side by side, so that their order is lost")
async def test_a_second_post_beside_the_first_closes_the_session(server: ConformanceServer) -> None:
    async with Polling.to(server.port) as session, Wire.to(server.port) as slow:
        head = f"POST {POLL}&sid={session.sid} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 6\r\n\r\n4"
        await slow.send(head.encode())
        await asyncio.sleep(0.02)
        assert (await session.post("4hello")).status_code in {400, 500}
        assert (await session.get()).status_code == 400


async def test_a_poll_and_a_post_go_side_by_side(server: ConformanceServer) -> None:
    async with Polling.to(server.port) as session:
        poll = asyncio.create_task(session.get())
        await asyncio.sleep(0.02)
        assert (await session.post("4hello")).status_code == 200
        assert (await poll).text == "4hello"


@fails_on_stock("the session goes on", steadily=False)
async def test_a_client_that_pings_where_the_server_should_is_closed(server: ConformanceServer) -> None:
    async with Polling.to(server.port) as session:
        await session.post("2")
        await _check_gone(session)


async def test_messages_posted_one_by_one_come_back_in_order(calm_server: ConformanceServer) -> None:
    async with Polling.to(calm_server.port) as session:
        for number in range(10):
            assert (await session.post(f"4{number}")).status_code == 200
        heard: list[str] = []
        while len(heard) < 10:
            heard += [each for each in (await session.get()).text.split("\x1e") if each != "2"]
        assert heard == [f"4{number}" for number in range(10)]


@fails_on_stock("a second packet is taken for the end of the upgrade's patience")
async def test_a_probe_may_be_sent_again(server: ConformanceServer) -> None:
    async with Polling.to(server.port) as session, Wire.to(server.port) as wire:
        await wire.upgrade(session.upgrade_path)
        for _ in range(2):
            await wire.send_packets("2probe")
            assert await wire.packet() == "3probe"


@fails_on_stock("the noop meant for the poll may be said on the WebSocket", steadily=False)
async def test_a_poll_that_waits_is_released_by_the_probe(server: ConformanceServer) -> None:
    async with Polling.to(server.port) as session, Wire.to(server.port) as wire:
        poll = asyncio.create_task(session.get())
        await asyncio.sleep(0.02)
        await wire.upgrade(session.upgrade_path)
        await wire.send_packets("2probe")
        assert await wire.packet() == "3probe"
        released = await asyncio.wait_for(poll, 0.25)
        assert (released.status_code, released.text) == (200, "6")
        await wire.send_packets("5", "4hello")
        assert await wire.packet() == "4hello"


@pytest.mark.parametrize("packet", ["2", "2wrong", "4hello", "3probe"])
async def test_an_upgrade_without_a_probe_is_closed_and_polling_goes_on(server: ConformanceServer, packet: str) -> None:
    await _check_failed_upgrade(server, packet)


@pytest.mark.parametrize("packet", ["x", ""])
@fails_on_stock("the session is held to be upgrading for ever")
async def test_an_upgrade_of_no_packet_is_closed_and_polling_goes_on(server: ConformanceServer, packet: str) -> None:
    await _check_failed_upgrade(server, packet)


async def test_an_upgrade_that_breaks_off_behind_its_probe_leaves_polling_as_it_was(server: ConformanceServer) -> None:
    async with Polling.to(server.port) as session:
        async with Wire.to(server.port) as wire:
            await wire.upgrade(session.upgrade_path)
            await wire.send_packets("2probe")
            assert await wire.packet() == "3probe"
        await asyncio.sleep(0.05)
        await _check_goes_on(session)


@fails_on_stock("the noop meant for the poll is said on the WebSocket too")
async def test_what_is_said_during_an_upgrade_comes_once_and_in_order(server: ConformanceServer) -> None:
    async with Polling.to(server.port) as session, Wire.to(server.port) as wire:
        await wire.upgrade(session.upgrade_path)
        await wire.send_packets("2probe")
        assert await wire.packet() == "3probe"
        for number in range(5):
            assert (await session.post(f"4{number}")).status_code == 200
        polled = await session.get()
        heard = [each for each in polled.text.split("\x1e") if each != "6"]
        await wire.send_packets("5", "45")
        while len(heard) < 6:
            heard.append(str(await wire.packet()))
        assert heard == [f"4{number}" for number in range(6)]


@fails_on_stock("a second upgrade beside the first is taken", steadily=False)
async def test_a_second_upgrade_beside_the_first_is_closed_and_the_first_goes_on(server: ConformanceServer) -> None:
    async with Polling.to(server.port) as session, Wire.to(server.port) as first, Wire.to(server.port) as second:
        await first.upgrade(session.upgrade_path)
        await first.send_packets("2probe")
        assert await first.packet() == "3probe"
        answer = await second.upgrade(session.upgrade_path)
        assert answer is None or answer.status == 400 or await second.end() is not None
        await first.send_packets("5", "4hello")
        assert await first.packet() == "4hello"


async def test_a_session_that_was_opened_by_websocket_cannot_be_polled(server: ConformanceServer) -> None:
    async with Wire.to(server.port) as wire:
        await wire.upgrade(f"{ENGINE}?EIO=4&transport=websocket")
        sid = str(await wire.packet()).partition('"sid":"')[2].partition('"')[0]
        async with http(f"http://127.0.0.1:{server.port}") as client:
            assert (await client.get(f"{POLL}&sid={sid}")).status_code == 400
        await wire.send_packets("4hello")
        assert await wire.packet() == "4hello"


async def test_a_client_that_hangs_up_leaves_no_session(server: ConformanceServer) -> None:
    before = await server.sessions()
    async with websocket(server.port) as wire:
        await wire.send_packets("4hello")
        assert await wire.packet() == "4hello"
    async with asyncio.timeout(1):
        while await server.sessions() > before:  # noqa: ASYNC110  another process
            await asyncio.sleep(0.01)


async def _check_failed_upgrade(server: ConformanceServer, packet: str) -> None:
    async with Polling.to(server.port) as session, Wire.to(server.port) as wire:
        await wire.upgrade(session.upgrade_path)
        await wire.send_packets(packet)
        assert await wire.end() is not None
        await _check_goes_on(session)


async def _check_goes_on(session: Polling) -> None:
    assert (await session.post("4hello")).status_code == 200
    heard = ""
    async with asyncio.timeout(1):
        while "4hello" not in heard.split("\x1e"):
            polled = await session.get()
            assert polled.status_code == 200
            heard = polled.text
            if heard == "2":
                await session.post("3")


async def _check_gone(session: Polling) -> None:
    answer: httpx.Response = await session.get()
    assert answer.status_code == 400
