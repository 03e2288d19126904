"""What no client should send through Socket.IO or a plain WebSocket."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.gateway.conftest import StartGateway
from tests.gateway.listeners import SocketIoListener, WebSocketListener
from tests.gateway.support import GatewayProcess, Served, until_ready
from tests.gateway.test_bad_input_http import HOSTILE
from tests.support.redis_server import RedisServer

CALLS = [
    ("subscribe-to-job", None, "bad-request"),
    ("subscribe-to-job", 7, "bad-request"),
    ("subscribe-to-job", {}, "bad-job-id"),
    ("subscribe-to-job", {"jobId": ["j"]}, "bad-job-id"),
    ("subscribe-to-job", {"jobId": "j", "since": 7}, "bad-request"),
    ("subscribe-to-job", {"jobId": "j", "since": {"epoch": "K", "seq": 1}}, "bad-request"),
    ("subscribe-to-job", {"jobId": "j", "since": {"epoch": "k", "seq": True}}, "bad-request"),
    ("subscribe-to-job", {"jobId": "j", "since": {"epoch": "k", "seq": 1.5}}, "bad-request"),
    ("subscribe-to-job", {"jobId": "j", "since": {"epoch": "k", "seq": 10**15}}, "bad-request"),
    ("unsubscribe-from-job", {"jobId": None}, "bad-job-id"),
    ("subscribe-to-queue", "demo", "bad-request"),
    ("subscribe-to-queue", {"queueName": "a:b"}, "bad-queue-name"),
    ("unsubscribe-from-queue", {"queueName": ""}, "bad-queue-name"),
    ("cancel-job", {"jobId": "j", "reason": 7}, "bad-request"),
    ("cancel-job", {"jobId": "j"}, "unknown-job"),
    ("no-such-call", {}, "bad-request"),
    ("__init__", {}, "bad-request"),
    ("x" * 5000, {}, "bad-request"),
]


@pytest.fixture(autouse=True)
async def neighbour(gateway: GatewayProcess) -> AsyncIterator[None]:
    """Somebody else, connected throughout and served as well after the test as before."""
    async with SocketIoListener.to(gateway.url) as listener:
        yield
        assert (await listener.call("subscribe-to-job", "neighbour"))["ok"]


async def refuses(listener: WebSocketListener | SocketIoListener, name: str, payload: Any, code: str) -> None:
    answer = await listener.call(name, payload)
    assert (answer["ok"], answer["code"], answer["retryable"]) == (False, code, False)
    assert len(answer["message"]) < 400
    if name.startswith(("subscribe-", "unsubscribe-")):
        told = (await listener.until("subscription-error"))["code"]
        assert told.startswith("bad-")


@pytest.mark.parametrize(("name", "payload", "code"), CALLS)
async def test_a_call_that_makes_no_sense_is_refused_by_both_doors(
    gateway: GatewayProcess, name: str, payload: Any, code: str
) -> None:
    async with WebSocketListener.to(gateway.url) as plain, SocketIoListener.to(gateway.url) as socket:
        for listener in (plain, socket):
            await refuses(listener, name, payload, code)
            assert (await listener.call("get-subscriptions"))["jobIds"] == []


async def test_a_hostile_id_is_refused_by_both_doors_before_redis(
    gateway: GatewayProcess, redis_server: RedisServer
) -> None:
    async with WebSocketListener.to(gateway.url) as plain, SocketIoListener.to(gateway.url) as socket:
        for listener in (plain, socket):
            for job_id in HOSTILE:
                await refuses(listener, "subscribe-to-job", {"jobId": job_id}, "bad-job-id")
                await refuses(listener, "subscribe-to-job", job_id, "bad-job-id")
                await refuses(listener, "subscribe-to-queue", {"queueName": job_id}, "bad-queue-name")
                await refuses(listener, "cancel-job", {"jobId": job_id}, "bad-job-id")
    with redis_server.client() as redis:
        assert redis.keys("*") == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{}",
        "[]",
        "null",
        "[7]",
        "[" * 60_000,
        '["subscribe-to-job",NaN]',
        '["subscribe-to-job","\\ud800"]',
        '["subscribe-to-job","j",1,2]',
        '["subscribe-to-job","j",{}]',
        '["subscribe-to-job","j",1.5]',
        json.dumps(["get-subscriptions", None, "x" * 65]),
        '["subscribe-to-job",' + "9" * 60_000 + "]",
    ],
)
async def test_a_message_that_is_no_call_is_answered_and_the_connection_goes_on(
    gateway: GatewayProcess, text: str
) -> None:
    async with WebSocketListener.to(gateway.url) as listener:
        await listener.connection.send(text)
        answer = await listener.until("ack")
        assert (answer["id"], answer["ok"]) == (None, False)
        assert answer["code"].startswith("bad-")
        assert (await listener.call("get-subscriptions"))["ok"]


async def test_a_binary_message_is_answered_and_one_too_large_closes_its_own_connection(
    gateway: GatewayProcess,
) -> None:
    async with WebSocketListener.to(gateway.url) as listener:
        await listener.connection.send(b'["get-subscriptions"]')
        assert (await listener.until("ack"))["code"] == "bad-request"
        await listener.connection.send("x" * (64 * 1024 + 1))
        await listener.until_ended()
        assert listener.connection.close_code == 1009


PACKETS = [
    *["4", "49", "42", "42{", "42[", "42[]", "42[7]", '42"x"', "42[null]", '42["a",NaN]', "42" + "[" * 50_000],
    *["41", "43", "44{}", "45", '451-["x"]', '4451000000000-["x"]', "46", "40/nowhere,", "42/nowhere,[1]"],
    *[
        "4\ud7ff",
        '42["connect",{}]',
        '42["disconnect","x"]',
        '42["connect"]',
        '42["disconnect"]',
        '42["subscribe-to-job","j"]x',
    ],
    '42999999999999999999999999["get-subscriptions"]',
]


@pytest.mark.parametrize("packet", PACKETS)
async def test_a_malformed_socketio_packet_costs_at_most_its_own_connection(
    gateway: GatewayProcess, packet: str
) -> None:
    url = f"ws://127.0.0.1:{gateway.port}/socket.io/?EIO=4&transport=websocket"
    async with connect(url, proxy=None, compression=None) as connection:
        await connection.recv()
        await connection.send("40")
        await connection.recv()
        await connection.send(packet)
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("name", ["connect", "disconnect"])
async def test_an_event_of_a_reserved_name_ends_the_connection_as_the_reference_server_does(
    house: Served, name: str
) -> None:
    async with SocketIoListener.to(house.url) as listener:
        assert len(house.gateway.clients) == 1
        await listener.client._send_packet(listener.client.packet_class(2, data=[name], namespace="/"))
        await listener.until_ended()
        assert len(house.gateway.clients) == 0


async def test_what_is_no_engineio_packet_disturbs_no_neighbour(start_gateway: StartGateway, redis_url: str) -> None:
    # Stock engineio and uvicorn write a traceback for some of these; our own engine will not. The log is not looked at.
    gateway = start_gateway(redis_url)
    await until_ready(gateway)
    async with SocketIoListener.to(gateway.url) as listener:
        address = f"ws://127.0.0.1:{gateway.port}"
        for packet in ("9", "x", "", "\x00", b"\x00", "3probe", "2probe", "5"):
            url = f"{address}/socket.io/?EIO=4&transport=websocket"
            async with connect(url, proxy=None, compression=None) as connection:
                await connection.recv()
                await connection.send(packet)
        async with connect(f"{address}/ws", proxy=None, compression=None) as connection:
            await connection.send(b"\xff\xfe", text=True)
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await connection.recv()
            assert connection.close_code == 1007
        assert (await listener.call("subscribe-to-job", "j"))["ok"]
