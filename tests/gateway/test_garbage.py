"""What is left of connections that are over: nothing that only the collector would free."""

import asyncio
import gc
import socket

import pytest
from websockets.server import ServerProtocol

from jobcast.gateway.client import Client
from jobcast.gateway.engine.session import Session
from jobcast.gateway.engine.websocket import WebSocketConnection
from tests.gateway.attacks import SOCKET_IO, Attack, deflate_bomb, oversize_message_in_fragments
from tests.gateway.crowd import dial
from tests.gateway.support import Served, frame, upgrade
from tests.support.waiting import wait_until

KINDS = (ServerProtocol, WebSocketConnection, Session, Client)


async def watched(port: int) -> socket.socket:
    return await answered(await dial(port, said=upgrade(port) + frame('["subscribe-to-job","j",1]')))


async def watched_by_socket_io(port: int) -> socket.socket:
    said = upgrade(port, SOCKET_IO) + frame("40") + frame('420["subscribe-to-job","j"]')
    return await answered(await dial(port, said=said))


async def answered(connection: socket.socket) -> socket.socket:
    told = b""
    while b'"snapshot"' not in told:
        told += await asyncio.wait_for(asyncio.get_running_loop().sock_recv(connection, 65536), 5)
    return connection


@pytest.mark.parametrize("come", [watched, watched_by_socket_io, oversize_message_in_fragments, deflate_bomb])
async def test_a_websocket_that_is_over_is_freed_without_the_collector(
    house: Served, no_collector: None, come: Attack
) -> None:
    port = int(house.url.rpartition(":")[2])
    for _ in range(3):
        (await come(port)).close()
    await wait_until(lambda: not left(), 3, "everything to be freed")


def left() -> list[str]:
    return [type(each).__name__ for each in gc.get_objects() if isinstance(each, KINDS)]
