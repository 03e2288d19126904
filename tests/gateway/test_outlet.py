"""Outlets: sent at once while the connection takes it, kept in order while it does not."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from jobcast.gateway.allowance import BURST, Allowance
from jobcast.gateway.outbox import LIMIT, MARK
from jobcast.gateway.outlet import NOTHING, Outlet, PullOutlet


class Pipe(Outlet):
    """Takes so many writes and is blocked then."""

    def __init__(self, takes: int) -> None:
        super().__init__()
        self.takes = takes
        self.sent = b""
        self.verdicts = 0

    def write(self, entry: bytes) -> None:
        assert not self.blocked
        self.sent += entry
        self.takes -= 1
        self.blocked = self.takes <= 0

    def slow(self) -> None:
        self.verdicts += 1

    def open(self, takes: int) -> None:
        self.takes, self.blocked = takes, False
        self.drain()


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=60))
def test_whatever_blocks_when_nothing_is_lost_doubled_or_out_of_order(steps: list[tuple[bool, int]]) -> None:
    pipe, expected = Pipe(1), b""
    for number, (answer, opened) in enumerate(steps):
        entry = b"%d;" % number
        if answer:
            pipe.push(entry)
        else:
            assert pipe.offer(entry)
        expected += entry
        if opened and pipe.blocked:
            pipe.open(opened)
    pipe.open(100)
    assert pipe.sent == expected
    assert pipe.outbox is NOTHING
    assert not len(NOTHING)


def test_a_blocked_outlet_refuses_events_beyond_its_mark_and_says_when_there_is_room() -> None:
    pipe, rooms = Pipe(0), []
    pipe.blocked = True
    pipe.on_room.append(lambda: rooms.append(True))
    taken = 0
    while pipe.offer(b"x" * 1000):
        taken += 1
    assert MARK - 2200 < taken * 1064 <= MARK
    assert not rooms
    pipe.open(100)
    assert rooms == [True]
    assert len(pipe.sent) == taken * 1000


def test_who_asks_without_reading_is_called_slow_at_the_limit_of_its_answers() -> None:
    pipe = Pipe(0)
    pipe.blocked = True
    for _ in range(LIMIT // 10_000 + 2):
        pipe.push(b"x" * 10_000)
    assert pipe.verdicts >= 1
    assert pipe.outbox.size <= LIMIT + 11_000


async def test_who_waits_for_a_pulled_outlet_is_woken_by_an_entry_and_by_its_end() -> None:
    outlet = PullOutlet(lambda: None)
    waiting = asyncio.create_task(outlet.ready())
    await asyncio.sleep(0)
    assert outlet.offer(b"a")
    assert await waiting
    assert outlet.take() == [b"a"]
    waiting = asyncio.create_task(outlet.ready())
    await asyncio.sleep(0)
    outlet.end()
    assert not await waiting


def test_an_allowance_is_a_burst_and_then_its_rate() -> None:
    allowance = Allowance(10, 0)
    assert sum(allowance.take(0) for _ in range(100)) == 10 * BURST
    assert sum(allowance.take(1 + number / 100) for number in range(100)) in {19, 20}
    assert sum(allowance.take(1000) for _ in range(100)) == 10 * BURST
