"""Jobs per minute, calm, and how long one will wait: from BullMQ's counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobcast.shared.throughput import MINUTE, Counted, Throughput, rate, reckon

NOON = 1_800_000_000_000 // MINUTE * MINUTE
NONE = Counted()


def _steady(per_minute: int, minutes: int, now: int) -> Counted:
    return Counted(now // MINUTE * MINUTE, round(per_minute * (now % MINUTE) / MINUTE), [per_minute] * minutes)


def test_nothing_is_known_of_a_queue_that_never_ended_a_job() -> None:
    assert reckon(NONE, NONE, 0, NOON) == Throughput()
    assert reckon(NONE, NONE, 50, NOON) == Throughput()


def test_nothing_is_known_in_the_first_seconds() -> None:
    began = Counted(NOON, 9)
    assert reckon(began, NONE, 50, NOON + 5000) == Throughput()
    assert reckon(began, NONE, 50, NOON + 20_000) == Throughput(24.0, 0.0, 130_000)  # 50 at 24 a minute: 125 s


@given(st.integers(1, 10_000), st.integers(5, 60), st.integers(0, MINUTE - 1))
def test_a_steady_queue_is_told_right_in_every_second_of_a_minute(per_minute: int, minutes: int, into: int) -> None:
    found = rate(_steady(per_minute, minutes, NOON + into), NOON + into)
    assert found == pytest.approx(per_minute, rel=0.05, abs=0.6)


def test_a_burst_is_soon_forgotten_and_one_minute_of_rest_is_no_standstill() -> None:
    assert (rate(Counted(NOON, 0, [0, *[60] * 30]), NOON) or 0) > 45
    assert (rate(Counted(NOON, 0, [*[0] * 20, 600]), NOON) or 0) < 3


def test_the_minutes_since_the_last_end_count() -> None:
    counted = Counted(NOON + 1000, 50, [50, 50])
    assert (rate(counted, NOON + 30 * MINUTE) or 0) < 0.5
    assert (rate(counted, NOON + 500 * MINUTE) or 0) < 0.01


@given(
    st.integers(0, 10**6),
    st.lists(st.integers(0, 10**6), max_size=60),
    st.integers(0, 10**6),
    st.integers(-MINUTE, 10**9),
    st.booleans(),
)
def test_whatever_was_counted_nothing_is_negative(
    latest: int, minutes: list[int], waiting: int, later: int, paused: bool
) -> None:
    told = reckon(Counted(NOON, latest, minutes), NONE, waiting, NOON + later, paused=paused)
    for value in (told.completed_per_minute, told.failed_per_minute, told.wait):
        assert value is None or value >= 0


def test_a_paused_queue_says_not_how_long_one_will_wait() -> None:
    busy = _steady(60, 30, NOON)
    assert reckon(busy, NONE, 120, NOON).wait == 120_000
    assert reckon(busy, NONE, 120, NOON, paused=True).wait is None
    assert reckon(busy, NONE, 0, NOON).wait == 0
