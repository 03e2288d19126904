"""What one client sent ahead is taken in order, a little at a time."""

import asyncio
import random
import time

from jobcast.gateway.engine.turns import MOST, SLICE, Turns


class Slow:
    """Takes its time for every byte, as one that parses small frames does."""

    def __init__(self, until: int = 1 << 30) -> None:
        self.read = bytearray()
        self.longest = 0
        self.holds = 0
        self.done = 0
        self._until = until

    @property
    def gone(self) -> bool:
        return len(self.read) >= self._until

    def take(self, data: bytearray) -> None:
        end = time.monotonic() + 0.00005
        while time.monotonic() < end:
            pass
        self.longest = max(self.longest, len(data))
        self.read += data

    def hold(self) -> None:
        self.holds += 1

    def taken(self) -> None:
        self.done += 1


async def test_everything_is_taken_in_order_and_others_have_their_turn_in_between() -> None:
    data, slow, others = random.randbytes(40 * MOST), Slow(), 0
    turns = Turns(slow, data[:-10])
    turns.go_on()
    turns.add(data[-10:])
    while not slow.done:
        others += 1
        await asyncio.sleep(0)
    assert slow.read == data
    assert slow.longest <= MOST
    assert others >= 20
    assert slow.holds >= others - 1
    await asyncio.sleep(0.01)
    assert slow.done == 1


async def test_nothing_is_taken_for_one_that_is_gone() -> None:
    slow = Slow(until=SLICE)
    Turns(slow, bytes(MOST * 10)).go_on()
    assert len(slow.read) == SLICE
    assert slow.done == 1
