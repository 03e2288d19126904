"""Somebody else on the same gateway, to whom nothing may happen whatever is sent to it."""

import contextlib
import re
from collections.abc import AsyncIterator

from tests.gateway.engine.attempts import CALL, PATIENCE
from tests.gateway.engine.raw import Wire
from tests.gateway.engine.support import SOCKET, websocket
from tests.support.waiting import wait_until


async def socketio_clients(port: int) -> float:
    """What the gateway itself counts."""
    async with Wire.to(port) as wire:
        await wire.send(f"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        answer = await wire.answer()
    assert answer is not None
    found = re.search(r'^jobcast_clients\{door="socket\.io"\} (\S+)$', answer.body.decode(), re.MULTILINE)
    return float(found[1]) if found else 0.0


@contextlib.asynccontextmanager
async def undisturbed(port: int) -> AsyncIterator[None]:
    """Whatever is done within: a neighbour is served as before, and afterwards nobody else is counted as connected."""
    async with websocket(port, SOCKET, connect=True) as neighbour:
        before = await socketio_clients(port)
        yield
        await check_served(neighbour)

        async def nobody_else() -> bool:
            return await socketio_clients(port) <= before

        await wait_until(nobody_else, 1, "the end of every client but the neighbour")


async def check_served(neighbour: Wire) -> None:
    """It is acknowledged in time."""
    await neighbour.send_packets(f"427{CALL}")
    while not str(packet := await neighbour.packet(PATIENCE)).startswith("437["):
        assert packet is not None, "the neighbour was closed"
