"""Stalls: only bytes that are taken count as progress."""

import asyncio
import socket

from jobcast.gateway.engine.stalls import Stalls, unacknowledged
from tests.support.waiting import wait_until


class Connection:
    def __init__(self, left: int) -> None:
        self.bytes = left
        self.verdict: float | None = None

    def left(self) -> int:
        return self.bytes

    def slow(self) -> None:
        self.verdict = asyncio.get_running_loop().time()


async def test_who_takes_nothing_is_slow_after_the_deadline_and_who_takes_a_byte_is_not() -> None:
    loop = asyncio.get_running_loop()
    stalls, dead, alive, start = Stalls(loop, 1.0), Connection(1000), Connection(1000), loop.time()
    stalls.add(dead)
    stalls.add(alive)
    while loop.time() - start < 1.8:
        await asyncio.sleep(0.1)
        alive.bytes -= 1
    assert dead.verdict is not None
    assert 1.0 <= dead.verdict - start < 1.8
    assert alive.verdict is None
    await wait_until(lambda: alive.verdict is not None, 5, "the verdict")
    assert len(stalls) == 0


async def test_who_has_recovered_or_is_gone_is_not_watched_any_more() -> None:
    stalls, gone = Stalls(asyncio.get_running_loop(), 0.1), Connection(1000)
    stalls.add(gone)
    stalls.discard(gone)
    await asyncio.sleep(0.3)
    assert gone.verdict is None
    assert stalls._timer is None


def test_the_kernel_says_what_the_peer_has_not_acknowledged() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.connect(server.getsockname())
        ours, _ = server.accept()
        with ours:
            assert unacknowledged(ours.fileno()) == 0
            ours.setblocking(False)
            ours.send(b"x" * 1_000_000)
            before = unacknowledged(ours.fileno())
            assert before > 0
            taken = 0
            while taken < 100_000:
                taken += len(peer.recv(65536))
            assert unacknowledged(ours.fileno()) < before
    assert unacknowledged(-1) == 0
