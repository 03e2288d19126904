"""What one connection is owed: in order, and never more than it may cost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobcast.gateway.outbox import LIMIT, MARK, Outbox, Overflow
from jobcast.gateway.wire import Message

OVERHEAD = 128


def message(size: int, number: int = 0) -> Message:
    return Message(f"m{number}", b"x" * size, "job")


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
    put: list[Message] = []
    got: list[Message] = []
    for number, (step, size) in enumerate(steps):
        if step == "take":
            taken = outbox.take(size)
            assert bool(taken) == (len(put) > len(got))
            assert sum(len(each.wire) + OVERHEAD for each in taken[:-1]) < size
            got += taken
            continue
        room = outbox.size < (mark if step == "offer" else limit)
        each = message(size, number)
        if step == "offer":
            assert outbox.offer(each) is room
        elif room:
            outbox.push(each)
        else:
            with pytest.raises(Overflow):
                outbox.push(each)
        put += [each] if room else []
        assert outbox.size == sum(len(owed.wire) + OVERHEAD for owed in put[len(got) :])
        assert outbox.size <= limit + 400 + OVERHEAD
        assert outbox.roomy == (outbox.size <= mark // 2)
    while len(outbox):
        got += outbox.take()
    assert got == put
    assert outbox.size == 0


def test_an_event_is_refused_at_the_mark_where_an_answer_is_still_taken() -> None:
    outbox = Outbox()
    while outbox.offer(message(64 * 1024)):
        pass
    assert MARK <= outbox.size < MARK + 64 * 1024 + 2 * OVERHEAD
    outbox.push(message(10))
    assert not outbox.roomy


def test_one_who_asks_and_never_reads_is_over_the_limit_at_last() -> None:
    outbox = Outbox()
    while outbox.size < LIMIT:
        outbox.push(message(1000))
    with pytest.raises(Overflow):
        outbox.push(message(1))
    assert outbox.size < LIMIT + 2000


def test_a_message_larger_than_what_is_asked_for_comes_alone() -> None:
    outbox = Outbox()
    outbox.push(message(5000, 1))
    outbox.push(message(1, 2))
    assert [each.name for each in outbox.take(100)] == ["m1"]
    assert [each.name for each in outbox.take(100)] == ["m2"]


def test_an_outbox_let_go_owes_nothing() -> None:
    outbox = Outbox()
    outbox.push(message(10))
    outbox.clear()
    assert (len(outbox), outbox.size, outbox.take()) == (0, 0, [])
