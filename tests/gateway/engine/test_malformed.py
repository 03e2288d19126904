"""Every row of the table of malformed input, against a gateway in a process of its own, beside a neighbour."""

import contextlib
import re
from collections.abc import AsyncIterator

import pytest

from tests.gateway.engine.attempts import CALL, PATIENCE, attempt
from tests.gateway.engine.conftest import TOOK
from tests.gateway.engine.malformed import ROWS
from tests.gateway.engine.raw import Wire
from tests.gateway.engine.rows import Row
from tests.gateway.engine.support import SOCKET, websocket
from tests.gateway.support import GatewayProcess
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
        await neighbour.send_packets(f"427{CALL}")
        while not str(await neighbour.packet(PATIENCE)).startswith("437["):
            pass

        async def nobody_else() -> bool:
            return await socketio_clients(port) <= before

        await wait_until(nobody_else, 1, "the end of every client but the neighbour")


@pytest.mark.parametrize("row", [pytest.param(row, id=f"{row.door}, {row.name}") for row in ROWS])
async def test_malformed_input_has_its_documented_outcome_and_no_other(gateway: GatewayProcess, row: Row) -> None:
    async with undisturbed(gateway.port):
        took = await attempt(row, gateway.port)
        TOOK.append(took)
        assert took < PATIENCE


def test_the_table_has_no_row_twice() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS) >= 150
