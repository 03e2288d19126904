"""An estimate of what is left: right where it can be, calm, and silent where nothing is known."""

import asyncio
import random
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobcast import Context
from jobcast.shared.events import JobProgress
from jobcast.worker.eta import Eta
from tests.worker.conftest import Bench

Sample = tuple[float, float]
"""When, in seconds, and how much was done by then, in percent."""


def steady(took: float, times: int) -> Iterator[Sample]:
    """A job of ``took`` seconds that tells its progress so many times."""
    for number in range(times):
        yield number * took / times, 100 * number / times


def bursty(took: float, burst: float) -> Iterator[Sample]:
    """The same mean rate, in steps."""
    for number in range(int(took / 0.5)):
        yield number * 0.5, 100 * (number * 0.5 // burst) * burst / took


def told(samples: Iterable[Sample]) -> list[tuple[float, float | None]]:
    """When, and how many seconds were said to be left."""
    eta, found = Eta(), []
    for time, percent in samples:
        left = eta.update(percent, time)
        found.append((time, None if left is None else left / 1000))
    return found


def news(said: Sequence[tuple[float, float | None]]) -> int:
    """How often the end that was told moved by more than what rounding does."""
    ends = [(time, time + left) for time, left in said if left is not None]
    return sum(abs(b - a) > max(0.1 * (b - time), 2) for (_, a), (time, b) in pairwise(ends))


@given(took=st.floats(10, 20_000), times=st.integers(20, 400))
def test_a_steady_job_is_told_right_and_counts_down(took: float, times: int) -> None:
    said = told(steady(took, times))
    known = [(time, left) for time, left in said if left is not None]
    assert known
    for time, left in known:
        assert left == pytest.approx(took - time, rel=0.12, abs=2)
    assert all(b <= a for (_, a), (_, b) in pairwise(known))


@settings(max_examples=30)
@given(took=st.floats(300, 3000), burst=st.floats(1, 10))
def test_a_job_that_works_in_bursts_does_not_make_it_flicker(took: float, burst: float) -> None:
    said = told(bursty(took, burst))
    late = [(time, left) for time, left in said if left is not None and time > took / 4]
    assert late
    for time, left in late:
        if took - time > 60:
            assert 0.5 * (took - time) < left < 2 * (took - time)
    assert news(late) <= len(late) / 10


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6))
def test_noise_is_no_news(seed: int) -> None:
    chance, percent, samples = random.Random(seed), 0.0, []
    for number in range(1000):
        samples.append((number * 0.5, percent))
        percent += chance.uniform(0, 0.2)
        if percent >= 100:
            break
    said = [each for each in told(samples) if each[0] > 60]
    assert news(said) <= len(said) / 50
    lefts = [left for _, left in said if left is not None]
    assert sum(later > sooner for sooner, later in pairwise(lefts)) <= len(lefts) / 50


def test_a_job_that_slows_down_has_its_end_moved_away() -> None:
    fast = [(float(time), float(time)) for time in range(51)]
    slow = [(50.0 + time, 50 + time / 10) for time in range(1, 200)]
    said = dict(told([*fast, *slow]))
    assert said[50] == pytest.approx(50, abs=5)
    assert (said[249] or 0) == pytest.approx(300, rel=0.25)


def test_one_that_stands_still_is_not_told_the_same_for_ever() -> None:
    going = [(float(time), time / 2) for time in range(101)]
    still = [(100.0 + time, 50.0) for time in range(1, 400)]
    said = dict(told([*going, *still]))
    assert said[100] == pytest.approx(100, abs=10)
    assert (said[120] or 0) > (said[100] or 0)
    assert said[499] is None


def test_one_that_goes_on_after_it_stood_still_is_told_again() -> None:
    going = [(float(time), time / 2) for time in range(101)]
    again = [(500.0 + time, 50 + time / 2) for time in range(1, 90)]
    said = dict(told([*going, (499.0, 50.0), *again]))
    assert said[499] is None
    assert said[589] is not None


@pytest.mark.parametrize(
    "samples",
    [
        [(0.0, 0.0)],
        [(0.0, 0.0), (0.5, 50.0)],  # much, but in no time
        [(0.0, 0.0), (60.0, 0.5)],  # long, but nothing done
        [(0.0, 40.0), (60.0, 40.0)],
    ],
)
def test_nothing_is_told_before_enough_is_known(samples: list[Sample]) -> None:
    assert [left for _, left in told(samples)] == [None] * len(samples)


def test_what_was_done_before_the_first_word_is_no_rate() -> None:
    """An attempt that goes on at 90 % has not done 90 % in no time."""
    said = dict(told((float(time), 90 + time / 10) for time in range(60)))
    assert said[50] == pytest.approx(50, abs=6)


def test_going_backwards_begins_anew() -> None:
    said = told([*((float(time), float(time)) for time in range(31)), (31.0, 5.0), (32.0, 6.5), (33.5, 8.0)])
    assert said[30][1] is not None
    assert [left for _, left in said[31:33]] == [None, None]
    assert said[33][1] == pytest.approx(92, rel=0.3)


def test_a_new_attempt_knows_nothing_of_the_one_before() -> None:
    assert Eta().update(50, 1000.0) is None


@given(
    st.lists(st.tuples(st.floats(0, 3600), st.one_of(st.floats(0, 100), st.sampled_from([0, 50, 100]))), max_size=200)
)
def test_whatever_is_told_it_is_never_negative_and_nothing_only_at_the_end(samples: list[Sample]) -> None:
    eta, now = Eta(), 0.0
    for wait, percent in samples:
        now += wait
        left = eta.update(percent, now)
        assert left is None or left >= 0
        assert (left == 0) == (percent >= 100)


async def test_it_is_told_with_the_progress_and_the_handlers_own_stands_over_it(bench: Bench) -> None:
    @bench.handler()
    async def go(context: Context) -> None:
        await context.progress(0, "began")
        await asyncio.sleep(2.1)
        await context.progress(40, "reckoned")
        await context.progress(41, "said", eta=7000)
        await context.progress({"rows": 5}, "no percentage")

    async with bench.worker():
        events = await bench.ended(await bench.submit())
    told = {event.stage: event.eta for event in events if isinstance(event, JobProgress)}
    assert told.pop("reckoned") in {2000, 3000, 4000}
    assert told == {"began": None, "said": 7000, "no percentage": None}
