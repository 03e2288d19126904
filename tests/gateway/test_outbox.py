"""What one connection is owed: in order, and never more than it may cost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobcast.gateway.outbox import LIMIT, MARK, Outbox, Overflow

OVERHEAD = 64


def entry(size: int, number: int = 0) -> bytes:
    return (b"%d:" % number).ljust(size, b"x")


@given(
    steps=st.lists(
        st.tuples(st.just("offer"), st.integers(0, 400))
        | st.tuples(st.just("push"), st.integers(0, 400))
        | st.tuples(st.just("take"), st.integers(1, 900)),
        max_size=80,
    )
)
def test_everything_taken_in_comes_out_once_and_in_order_and_the_size_is_bounded(steps: list[tuple[str, int]]) -> None:
    mark, limit = 1000, 3000
    outbox = Outbox(mark, limit)
    put: list[bytes] = []
    got: list[bytes] = []
    for number, (step, size) in enumerate(steps):
        if step == "take":
            taken = outbox.take(size)
            assert bool(taken) == (len(put) > len(got))
            assert sum(len(each) + OVERHEAD for each in taken[:-1]) < size
            got += taken
            continue
        each = entry(size, number)
        owed_size = outbox.size
        room = not len(outbox) or owed_size + len(each) <= mark if step == "offer" else owed_size < limit
        if step == "offer":
            assert outbox.offer(each) is room
        elif room:
            outbox.push(each)
        else:
            with pytest.raises(Overflow):
                outbox.push(each)
        put += [each] if room else []
        assert outbox.size == sum(len(owed) + OVERHEAD for owed in put[len(got) :])
        assert outbox.size <= limit + 400 + OVERHEAD
        assert outbox.roomy == (outbox.size <= mark // 2)
    while len(outbox):
        got += outbox.take()
    assert got == put
    assert outbox.size == 0


def test_an_event_is_refused_at_the_mark_where_an_answer_is_still_taken() -> None:
    outbox = Outbox()
    while outbox.offer(entry(1000)):
        pass
    assert MARK - 1000 - OVERHEAD < outbox.size <= MARK + OVERHEAD
    outbox.push(entry(10))
    assert not outbox.roomy


def test_one_who_asks_and_never_reads_is_over_the_limit_at_last() -> None:
    outbox = Outbox()
    while outbox.size < LIMIT:
        outbox.push(entry(1000))
    with pytest.raises(Overflow):
        outbox.push(entry(1))
    assert outbox.size < LIMIT + 2000


def test_a_message_larger_than_what_is_asked_for_comes_alone() -> None:
    outbox = Outbox()
    outbox.push(entry(5000, 1))
    outbox.push(entry(1, 2))
    assert [each[:2] for each in outbox.take(100)] == [b"1:"]
    assert [each[:2] for each in outbox.take(100)] == [b"2:"]


def test_an_event_larger_than_the_mark_is_taken_by_an_empty_outbox_alone() -> None:
    outbox = Outbox(mark=1000)
    assert outbox.offer(entry(5000))
    assert not outbox.offer(entry(1))


def test_what_was_taken_too_much_is_put_back_in_its_place() -> None:
    outbox = Outbox()
    for number in range(4):
        outbox.push(entry(10, number))
    size = outbox.size
    first, *rest = outbox.take()
    outbox.put_back(rest)
    assert [each[:2] for each in [first, *outbox.take()]] == [b"0:", b"1:", b"2:", b"3:"]
    assert size == 4 * (10 + OVERHEAD)


def test_an_outbox_let_go_owes_nothing() -> None:
    outbox = Outbox()
    outbox.push(entry(10))
    outbox.clear()
    assert (len(outbox), outbox.size, outbox.take()) == (0, 0, [])
