"""More newcomers at once than a gateway takes in: each door tells them to come again, and who is here is served."""

import asyncio
import contextlib
import json
import re
from collections.abc import Awaitable, Callable

import httpx
import pytest

from tests.gateway.engine.support import Polling
from tests.gateway.events import queued
from tests.gateway.listeners import Listener, SocketIoListener, SseListener, WebSocketListener
from tests.gateway.support import Served, http, port_of, send_raw, served, upgrade
from tests.gateway.test_limits import turned_away

STREAM = "/api/v1/jobs/j/events"
SOCKET = "/socket.io/?EIO=4&transport=websocket"
POLLING = "/socket.io/?EIO=4&transport=polling"
WITHIN = re.compile(r"[1-4]")


async def websocket(house: Served) -> tuple[int, str, bytes]:
    return split(await send_raw(port_of(house), upgrade(port_of(house))))


async def socketio(house: Served) -> tuple[int, str, bytes]:
    return split(await send_raw(port_of(house), upgrade(port_of(house), SOCKET)))


async def polling(house: Served) -> tuple[int, str, bytes]:
    return await got(house, POLLING)


async def stream(house: Served) -> tuple[int, str, bytes]:
    return await got(house, STREAM)


async def got(house: Served, path: str) -> tuple[int, str, bytes]:
    async with http(house.url) as client:
        answer = await client.get(path)
        return answer.status_code, answer.headers.get("retry-after", ""), answer.content


def split(answer: bytes) -> tuple[int, str, bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    again = re.search(rb"(?i)\r\nretry-after: *(\S+)", head)
    return int(head[9:12]), again[1].decode() if again else "", body


@pytest.mark.parametrize("newcomer", [websocket, socketio, polling, stream])
async def test_a_newcomer_too_many_is_told_to_come_again_and_who_is_here_is_served(
    redis_url: str, newcomer: Callable[[Served], Awaitable[tuple[int, str, bytes]]]
) -> None:
    # One at once, and the next in five seconds.
    async with served(redis_url, max_admissions=0.2) as house, WebSocketListener.to(house.url) as here:
        await here.until("connected")
        status, again, body = await newcomer(house)
        assert (status, json.loads(body)["code"], json.loads(body)["retryable"]) == (503, "unavailable", True)
        assert WITHIN.fullmatch(again)
        assert turned_away(house, "admission") == 1
        assert (await here.call("subscribe-to-job", "j"))["ok"]
        await house.journal.append(queued("j"))
        await here.until_seq(1)
        async with http(house.url) as client:
            for path in ("/healthz", "/readyz", "/metrics", "/api/v1/queues"):
                assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize("door", ["websocket", "socket.io", "polling", "sse"])
async def test_a_client_of_any_door_counts_once(redis_url: str, door: str) -> None:
    async with served(redis_url, max_admissions=0.4) as house:  # Two at once.
        doors: dict[str, Callable[[], contextlib.AbstractAsyncContextManager[Listener]]] = {
            "websocket": lambda: WebSocketListener.to(house.url),
            "socket.io": lambda: SocketIoListener.to(house.url),
            "polling": lambda: SocketIoListener.to(house.url, transport="polling"),
            "sse": lambda: SseListener.to(house.url, STREAM),
        }
        async with doors[door](), doors[door]():
            assert (await websocket(house))[0] == 503


async def test_a_session_that_leaves_polling_for_a_websocket_is_no_newcomer(redis_url: str) -> None:
    async with served(redis_url, max_admissions=0.2) as house, Polling.to(port_of(house), "/socket.io/") as session:
        assert (await websocket(house))[0] == 503
        upgrading = upgrade(port_of(house), f"{SOCKET}&sid={session.sid}")
        assert (await send_raw(port_of(house), upgrading)).startswith(b"HTTP/1.1 101 ")


async def test_those_turned_away_are_let_in_as_time_goes_by(redis_url: str) -> None:
    async with served(redis_url, max_admissions=4) as house:  # Twenty at once, and one more each quarter of a second.
        answers = await asyncio.gather(*(websocket(house) for _ in range(40)))
        statuses = [status for status, _, _ in answers]
        assert 20 <= statuses.count(101) <= 32
        assert statuses.count(503) == 40 - statuses.count(101)
        assert len({again for status, again, _ in answers if status == 503}) > 1, "they would all return together"
        await asyncio.sleep(0.5)
        assert (await websocket(house))[0] == 101


async def test_an_event_source_is_told_to_come_again_in_its_own_words(redis_url: str) -> None:
    async with (
        served(redis_url, max_admissions=0.2) as house,
        WebSocketListener.to(house.url),
        http(house.url) as client,
    ):
        answer = await client.get(STREAM, headers={"Accept": "text/event-stream"})
        # Any status but 200 would end a browser's EventSource for good.
        assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
        assert 1000 <= retry_of(answer) <= 4000


async def test_streams_are_told_different_times_to_come_again_after_a_loss(house: Served) -> None:
    async def told() -> int:
        async with http(house.url) as client, client.stream("GET", STREAM) as response:
            async for text in response.aiter_text():
                return int(re.findall(r"^retry: (\d+)$", text, re.MULTILINE)[0])
        raise AssertionError("a stream without a word")

    times = [await told() for _ in range(8)]
    assert all(1000 <= each <= 4000 for each in times)
    assert len(set(times)) > 1


def retry_of(answer: httpx.Response) -> int:
    return int(re.findall(r"^retry: (\d+)$", answer.text, re.MULTILINE)[0])
