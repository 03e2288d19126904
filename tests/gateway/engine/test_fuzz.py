"""Valid sessions mutated by a seeded generator, against a gateway in a process of its own, beside a neighbour.

``FUZZ_SEED`` repeats a run, ``FUZZ_CASES`` makes it longer, ``FUZZ_FIRST`` begins it at a case.
"""

import asyncio
import contextlib
import os
import random
import time
from typing import Final

from tests.gateway.engine.attempts import CALL, PATIENCE
from tests.gateway.engine.fuzz import Case, make
from tests.gateway.engine.neighbour import undisturbed
from tests.gateway.engine.raw import Answer, Wire
from tests.gateway.engine.support import SOCKET, websocket
from tests.gateway.support import GatewayProcess

CASES: Final = int(os.environ.get("FUZZ_CASES", "1000"))
FIRST: Final = int(os.environ.get("FUZZ_FIRST", "0"))
SEED: Final = int(os.environ.get("FUZZ_SEED") or random.SystemRandom().randrange(10**9))
LOOKS: Final = 20
"""Cases between two looks at the log and the neighbour."""
POLL: Final = f"{SOCKET}?EIO=4&transport=polling"


async def test_a_mutated_session_is_answered_or_closed_and_disturbs_nobody(target: GatewayProcess) -> None:
    print(f"FUZZ_SEED={SEED}")
    slowest = 0.0
    for begin in range(FIRST, FIRST + CASES, LOOKS):
        async with undisturbed(target.port):
            for number in range(begin, min(begin + LOOKS, FIRST + CASES)):
                case = make(SEED, number)
                started = time.monotonic()
                try:
                    await send(case, target.port)
                except (AssertionError, TimeoutError) as error:
                    raise AssertionError(f"FUZZ_SEED={SEED} FUZZ_FIRST={number}: {case}: {error!r}") from error
                slowest = max(slowest, time.monotonic() - started)
        print(f"cases {begin} to {begin + LOOKS}, the slowest so far {1000 * slowest:.1f} ms")
        target.check_log()


def test_a_seed_makes_the_same_cases_again() -> None:
    assert [make(7, number) for number in range(50)] == [make(7, number) for number in range(50)]
    assert len({make(7, number) for number in range(50)}) > 45


async def send(case: Case, port: int) -> None:
    if case.door == "packets":
        await _send_packets(case, port)
    elif case.door == "polling":
        await _send_body(case, port)
    else:
        # What is cut short may wait for the rest of it, and the door's own deadline ends that: here only its neighbours
        # and the log are looked at.
        await _send_bytes(case, port)


async def _send_packets(case: Case, port: int) -> None:
    """Whole frames leave nothing to wait for: a call behind them is acknowledged, or the connection is closed."""
    async with websocket(port, SOCKET) as wire:
        await wire.send_packets(*case.sent, f"427{CALL}")
        while (packet := await wire.packet(PATIENCE)) is not None:
            if str(packet).startswith("437["):
                return


async def _send_bytes(case: Case, port: int) -> None:
    (data,) = case.sent
    assert isinstance(data, bytes)
    if case.door == "frames":
        async with websocket(port, SOCKET) as wire:
            await wire.send(data)
            await wire.end(0.01)
    else:
        async with Wire.to(port) as wire:
            await wire.send(data)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(wire.reader.read(), 0.01)


async def _send_body(case: Case, port: int) -> None:
    (body,) = case.sent
    assert isinstance(body, bytes)
    async with Wire.to(port) as wire:
        opened = await _request(wire, f"GET {POLL}")
        assert opened is not None
        sid = opened.body.decode().partition('"sid":"')[2].partition('"')[0]
        answer = await _request(wire, f"POST {POLL}&sid={sid}", body)
        assert answer is None or answer.status in {200, 400, 413}, answer
        # Whatever became of the session, it is over now; a poller that only stays away is missed at its next ping.
        async with Wire.to(port) as last:
            await _request(last, f"POST {POLL}&sid={sid}", b"1")


async def _request(wire: Wire, first: str, body: bytes = b"") -> Answer | None:
    head = f"{first} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
    await wire.send(head.encode() + body)
    return await wire.answer(PATIENCE)
