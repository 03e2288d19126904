"""Sends a row of the table to a gateway, and fails unless one of its outcomes comes of it."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import httpx

from jobcast.gateway.engine.http import LAST_BYTES
from tests.gateway.engine.raw import Answer, Wire
from tests.gateway.engine.rows import Answered, Closed, Ignored, Row, Status, Waiting
from tests.gateway.engine.support import SOCKET, Polling, websocket

PATIENCE = 0.5
"""Seconds an outcome may take here; a gateway alone on its machine is to need a fifth of that."""
CALL = '["get-subscriptions"]'


async def attempt(row: Row, port: int) -> float:
    """Seconds from the last byte sent to the outcome."""
    return await _DOORS[row.door](row, port)


async def _packets(row: Row, port: int) -> float:
    async with websocket(port, SOCKET, connect=row.door == "connected") as wire:
        await wire.send_packets(*row.sent)
        return await _outcome(row, wire)


async def _frames(row: Row, port: int) -> float:
    async with websocket(port, SOCKET, connect=True) as wire:
        await wire.send(b"".join(_bytes(each) for each in row.sent))
        return await _outcome(row, wire)


async def _outcome(row: Row, wire: Wire) -> float:
    begin = time.monotonic()
    if Waiting() in row.outcomes:
        assert await wire.end(0.1) is None, f"{row.name}: closed with {wire.close_code}"
        return 0.0
    if Ignored() in row.outcomes:
        await wire.send_packets(f"427{CALL}")
    prefixes = [each.prefix for each in row.outcomes if isinstance(each, Answered)]
    if prefixes and (packet := await wire.packet(PATIENCE)) is not None:
        for prefix in prefixes:
            if str(packet).startswith(prefix):
                took = time.monotonic() - begin
                await _goes_on(wire, prefix if prefix != "40/" else str(packet).partition("{")[0] + "{")
                return took
    if Ignored() in row.outcomes and await _is_acknowledged(wire, "437["):
        return time.monotonic() - begin
    codes = frozenset[int]().union(*(each.codes for each in row.outcomes if isinstance(each, Closed)))
    end = await wire.end(PATIENCE)
    assert end is not None, f"{row.name}: still open"
    assert wire.close_code in codes, f"{row.name}: closed with {wire.close_code}, expected {sorted(codes)}"
    return time.monotonic() - begin


async def _goes_on(wire: Wire, prefix: str) -> None:
    """After an answer the session is as good as ever, in the namespace that was connected to or in the main one."""
    namespace = prefix[2:-1] if prefix.startswith("40/") else ""
    if prefix.startswith("44"):
        await wire.send_packets("40")
        assert await _is_acknowledged(wire, "40{")
    await wire.send_packets(f"42{namespace}7{CALL}")
    assert await _is_acknowledged(wire, f"43{namespace}7[")


async def _is_acknowledged(wire: Wire, prefix: str) -> bool:
    """False where the connection ends instead."""
    while (packet := await wire.packet(PATIENCE)) is not None:
        if str(packet).startswith(prefix):
            return True
    return False


async def _polling(row: Row, port: int) -> float:
    async with Polling.to(port, SOCKET) as session:
        await session.post("40")
        await _until_polled(session, '"connected"')
        begin = time.monotonic()
        found = (await session.post(_bytes(row.sent[0]))).status_code
        took = time.monotonic() - begin
        fitting = [each for each in row.outcomes if isinstance(each, Status) and found in each.statuses]
        assert fitting, f"{row.name}: answered {found}, expected {row.outcomes}"
        if fitting[0].ends is True:
            async with asyncio.timeout(PATIENCE):
                assert (await session.get()).status_code == 400, f"{row.name}: the session goes on"
        elif fitting[0].ends is False:
            assert (await session.post(f"427{CALL}")).status_code == 200
            await _until_polled(session, "437[")
        await session.post("1")
    return took


async def _until_polled(session: Polling, text: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            answer: httpx.Response = await session.get()
            assert answer.status_code == 200, answer.text
            if text in answer.text:
                return


async def _http(row: Row, port: int) -> float:
    async with Wire.to(port) as wire:
        await wire.send(_bytes(row.sent[0]))
        begin = time.monotonic()
        try:
            answer: Answer | None = await wire.answer(PATIENCE)
        except TimeoutError:
            raise AssertionError(f"{row.name}: neither answered nor closed") from None
        took = time.monotonic() - begin
        found = answer.status if answer is not None else None
        fitting = [each for each in row.outcomes if isinstance(each, Status) and found in each.statuses]
        assert fitting, f"{row.name}: {answer}, expected {row.outcomes}"
        if fitting[0].ends:
            # Whoever is answered before the end of a body may still send of it for a while.
            async with asyncio.timeout(LAST_BYTES + PATIENCE):
                while await wire.reader.read(65536):
                    pass
    return took


def _bytes(sent: str | bytes) -> bytes:
    return sent if isinstance(sent, bytes) else sent.encode()


_DOORS: dict[str, Callable[[Row, int], Coroutine[Any, Any, float]]] = {
    "opened": _packets,
    "connected": _packets,
    "frames": _frames,
    "polling": _polling,
    "http": _http,
}
