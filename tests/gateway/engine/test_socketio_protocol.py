"""Socket.IO v5: every case of the official protocol suite that is Socket.IO's own.

What it asks of Engine.IO on ``/socket.io/`` is in ``test_engineio_protocol.py``, where both paths are asked.
"""

import asyncio
import json

import pytest

from tests.gateway.engine.support import SOCKET, ConformanceServer, fails_on_stock, websocket

FIRST, SECOND = b"\x01\x02\x03", b"\x04\x05\x06"
TWO = '{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}'


# Connect and disconnect.


@pytest.mark.parametrize(
    ("connect", "prefix", "auth"),
    [
        pytest.param("40", "40", '42["auth",{}]', id="the main namespace"),
        pytest.param('40{"token":"123"}', "40", '42["auth",{"token":"123"}]', id="the main namespace with a payload"),
        pytest.param("40/custom,", "40/custom,", '42/custom,["auth",{}]', id="a custom namespace"),
        pytest.param(
            '40/custom,{"token":"abc"}',
            "40/custom,",
            '42/custom,["auth",{"token":"abc"}]',
            id="a custom namespace with a payload",
        ),
    ],
)
async def test_a_client_connects_to_a_namespace(
    server: ConformanceServer, connect: str, prefix: str, auth: str
) -> None:
    async with websocket(server.port, SOCKET) as wire:
        await wire.send_packets(connect)
        packet = await wire.packet()
        assert isinstance(packet, str)
        assert packet.startswith(prefix)
        handshake = json.loads(packet.removeprefix(prefix))
        assert list(handshake) == ["sid"]
        assert isinstance(handshake["sid"], str)
        assert await wire.packet() == auth


@fails_on_stock("it is refused in other words, and as a text")
async def test_an_unknown_namespace_is_refused_by_name(server: ConformanceServer) -> None:
    async with websocket(server.port, SOCKET) as wire:
        await wire.send_packets("40/random")
        assert await wire.packet() == '44/random,{"message":"Invalid namespace"}'


@fails_on_stock("what is no packet is logged as a traceback and the connection kept")
async def test_what_is_no_packet_instead_of_a_connect_closes_the_connection(server: ConformanceServer) -> None:
    async with websocket(server.port, SOCKET) as wire:
        await wire.send_packets("4abc")
        assert await wire.end() is not None


@fails_on_stock("nobody need ever connect")
async def test_a_connection_without_a_connect_is_closed_though_it_answers_pings(server: ConformanceServer) -> None:
    async with websocket(server.port, SOCKET) as wire:
        assert await wire.end(1.5) is not None


async def test_a_client_that_leaves_the_main_namespace_is_pinged_on(server: ConformanceServer) -> None:
    async with websocket(server.port, SOCKET, connect=True) as wire:
        await wire.send_packets("41")
        assert await asyncio.wait_for(wire.bare_packet(), 0.5) == "2"


async def test_a_client_that_leaves_a_custom_namespace_keeps_the_main_one(server: ConformanceServer) -> None:
    async with websocket(server.port, SOCKET, connect=True) as wire:
        await wire.send_packets("40/custom")
        assert str(await wire.packet()).startswith("40/custom,")
        assert await wire.packet() == '42/custom,["auth",{}]'
        await wire.send_packets("41/custom", '42["message","message to main namespace"]')
        assert await wire.packet() == '42["message-back","message to main namespace"]'


# Messages.


async def test_an_event_comes_back_with_its_arguments(server: ConformanceServer) -> None:
    async with websocket(server.port, SOCKET, connect=True) as wire:
        await wire.send_packets('42["message",1,"2",{"3":[true]}]')
        assert await wire.packet() == '42["message-back",1,"2",{"3":[true]}]'


async def test_an_event_comes_back_with_its_attachments(server: ConformanceServer) -> None:
    async with websocket(server.port, SOCKET, connect=True) as wire:
        await wire.send_packets(f'452-["message",{TWO}]', FIRST, SECOND)
        assert await wire.packet() == f'452-["message-back",{TWO}]'
        assert [await wire.packet(), await wire.packet()] == [FIRST, SECOND]


async def test_an_event_is_acknowledged_with_its_arguments(server: ConformanceServer) -> None:
    async with websocket(server.port, SOCKET, connect=True) as wire:
        await wire.send_packets('42456["message-with-ack",1,"2",{"3":[false]}]')
        assert await wire.packet() == '43456[1,"2",{"3":[false]}]'


async def test_an_event_is_acknowledged_with_its_attachments(server: ConformanceServer) -> None:
    async with websocket(server.port, SOCKET, connect=True) as wire:
        await wire.send_packets(f'452-789["message-with-ack",{TWO}]', FIRST, SECOND)
        assert await wire.packet() == f"462-789[{TWO}]"
        assert [await wire.packet(), await wire.packet()] == [FIRST, SECOND]


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param("4abc", id="an unknown type"),
        pytest.param("42{}", id="a payload that is no array"),
        pytest.param('42abc["message-with-ack",1,"2",{"3":[false]}]', id="an id that is no number"),
    ],
)
@fails_on_stock("what is no packet is logged as a traceback and the connection kept")
async def test_a_malformed_packet_closes_the_connection(server: ConformanceServer, packet: str) -> None:
    async with websocket(server.port, SOCKET, connect=True) as wire:
        await wire.send_packets(packet)
        assert await wire.end() is not None
