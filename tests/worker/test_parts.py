"""The pure parts: throttle, back-off, values, registry."""

import math
import tomllib
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobcast.shared.definitions import Limiter
from jobcast.shared.errors import BadQueueName, BadRequest, BadSettings
from jobcast.shared.events import JobCompleted
from jobcast.worker.backoff import LONGEST_DELAY, retry_delay
from jobcast.worker.queues import QueueDefinition
from jobcast.worker.registry import Registry
from jobcast.worker.throttle import INTERVAL, Throttle
from jobcast.worker.values import LONGEST_LINE, check_carried, cut, error_text, read_line, read_progress
from tests.support.processes import REPOSITORY


@dataclass(frozen=True)
class Offer:
    number: int
    stage: str | None
    after: float


OFFERS = st.lists(
    st.tuples(st.sampled_from([None, "a", "b"]), st.floats(0, 0.3, allow_nan=False)), min_size=1, max_size=60
)


def _play(offers: list[tuple[str | None, float]]) -> tuple[list[tuple[float, int]], dict[int, float]]:
    """What is told when, if the due moments are kept to; and when each value was offered."""
    throttle: Throttle[Offer] = Throttle()
    now, told, offered = 0.0, [], {}
    for number, (stage, after) in enumerate(offers):
        end = now + after
        while (wait := throttle.wait(now)) is not None and now + wait <= end:
            now += wait
            if (value := throttle.take(now)) is not None:
                told.append((now, value.number))
        now = end
        offered[number] = now
        if throttle.offer(Offer(number, stage, after), stage, now):
            value = throttle.take(now)
            assert value is not None
            told.append((now, value.number))
    if (last := throttle.take(now)) is not None:
        told.append((now, last.number))
    return told, offered


@given(OFFERS)
def test_the_throttle_never_loses_the_last_value_and_never_reorders(offers: list[tuple[str | None, float]]) -> None:
    told, offered = _play(offers)
    numbers = [number for _, number in told]
    assert numbers == sorted(set(numbers))
    assert numbers[0] == 0
    assert numbers[-1] == len(offers) - 1
    assert all(at - offered[number] <= INTERVAL + 1e-9 for at, number in told)


@given(OFFERS)
def test_a_change_of_stage_is_told_at_once(offers: list[tuple[str | None, float]]) -> None:
    told, offered = _play(offers)
    at = {number: when for when, number in told}
    shown = offers[0][0]
    for number, (stage, _) in enumerate(offers):
        if stage != shown and number in at and at[number] != offered[number]:
            raise AssertionError(f"value {number} changed the stage and waited")
        if number in at:
            shown = stage


@given(st.lists(st.floats(0, 0.01), min_size=200, max_size=200))
def test_a_flood_is_told_no_more_than_ten_times_a_second(pauses: list[float]) -> None:
    told, _ = _play([(None, pause) for pause in pauses])
    span = sum(pauses)
    assert len(told) <= span / INTERVAL + 3


def test_a_value_that_could_not_be_told_is_kept_unless_a_newer_one_came() -> None:
    throttle: Throttle[int] = Throttle()
    assert throttle.offer(1, None, 0.0)
    assert throttle.take(0.0) == 1
    throttle.restore(1)
    assert throttle.take(0.1) == 1
    throttle.offer(2, None, 0.11)
    throttle.restore(1)
    assert throttle.take(0.2) == 2
    assert throttle.wait(0.2) is None


@pytest.mark.parametrize(
    ("kind", "made", "expected"),
    [("fixed", 1, 100), ("fixed", 9, 100), ("exponential", 1, 100), ("exponential", 3, 400)],
)
def test_the_wait_before_a_retry(kind: Any, made: int, expected: int) -> None:
    assert retry_delay(kind, 100, made) == expected


@given(st.floats(0, 10**12), st.integers(0, 10_000), st.floats(0, 1), st.floats(0, 1))
def test_a_wait_is_never_negative_and_never_longer_than_a_day(
    delay: float, made: int, jitter: float, chance: float
) -> None:
    assert 0 <= retry_delay("exponential", delay, made, jitter=jitter, chance=chance) <= LONGEST_DELAY


def test_jitter_takes_its_share_off() -> None:
    """Trap 23: BullMQ's Python port ignores jitter."""
    assert retry_delay("fixed", 1000, 1, jitter=0.5, chance=1.0) == 500
    assert retry_delay("fixed", 1000, 1, jitter=0.5, chance=0.0) == 1000


@pytest.mark.parametrize(
    ("given_value", "progress", "percent"),
    [
        (-5, 0, 0),
        (0, 0, 0),
        (41.7, 41.7, 41.7),
        (1e300, 100, 100),
        ({"percent": 130, "n": 1}, {"percent": 130, "n": 1}, 100),
        ({"percent": "x"}, {"percent": "x"}, None),
        ({}, {}, None),
    ],
)
def test_progress_is_clamped(given_value: Any, progress: Any, percent: Any) -> None:
    said = read_progress(given_value, None, None, None)
    assert (said.progress, said.percent) == (progress, percent)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, None, "50", [50], object()])
def test_progress_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises(BadRequest, match="expected progress as a number"):
        read_progress(value, None, None, None)


@pytest.mark.parametrize(("stage", "eta"), [(5, None), (None, "soon"), (None, math.nan)])
def test_odd_stages_and_times_are_refused(stage: Any, eta: Any) -> None:
    with pytest.raises(BadRequest):
        read_progress(1, stage, None, eta)


@given(st.text(max_size=5000).map(lambda text: text * 4), st.integers(1, 9000))
def test_a_cut_text_says_how_much_is_gone(text: str, limit: int) -> None:
    data = text.encode()
    shown = cut(text, limit)
    if len(data) <= limit:
        assert shown == text
        return
    kept, _, mark = shown.rpartition("… [")
    assert text.startswith(kept)
    assert int(mark.removesuffix(" bytes more]")) == len(data) - len(kept.encode())
    assert len(kept.encode()) <= limit


@dataclass
class Point:
    x: float


@pytest.mark.parametrize(
    "value", [None, "null", [None, {"a": "null"}], {"a": Point(1.5)}, (None, {1.5}), {1: None}, msgspec.Raw(b"null")]
)
def test_nulls_that_were_meant_are_carried(value: Any) -> None:
    check_carried(_completed(value), value)


@pytest.mark.parametrize(
    "value", [math.nan, -math.inf, [[[math.inf]]], {"a": Point(math.nan)}, (1, math.nan), {math.inf}, {"a": [math.nan]}]
)
def test_numbers_that_are_none_are_not_carried(value: Any) -> None:
    with pytest.raises(BadRequest, match=r"job-completed cannot be written as JSON: it holds (nan|-?inf)"):
        check_carried(_completed(value), value)


def _completed(result: Any) -> JobCompleted:
    return JobCompleted(job_id="j", queue="q", attempt=1, timestamp=1, result=result, processing_time=1, total_time=1)


def test_a_line_is_text_and_bounded() -> None:
    line, level = read_line("x" * 20_000, "info")
    assert line.endswith(f"… [{20_000 - LONGEST_LINE} bytes more]")
    assert level == "info"
    assert read_line("a\ud800b", None) == ("a?b", None)
    with pytest.raises(BadRequest):
        read_line(b"bytes", None)


def test_an_error_that_cannot_say_itself_is_told_by_name() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert error_text(Mute()) == "Mute: (its message cannot be read: RuntimeError)"
    assert error_text(ValueError()) == "ValueError"
    assert len(error_text(ValueError("x" * 10**6))) < 5000


def test_a_handler_is_refused_with_a_sentence() -> None:
    registry = Registry()

    def first(_: Any) -> None: ...

    def second(_: Any) -> None: ...

    registry.add("mail", "send", first)
    with pytest.raises(BadSettings, match=r"already has the handler .*first; .*second needs another name"):
        registry.add("mail", "send", second)
    with pytest.raises(BadQueueName):
        registry.add("two words", "send", first)
    with pytest.raises(BadRequest):
        registry.add("mail", "", first)
    with pytest.raises(BadSettings, match="timeout"):
        registry.add("mail", "late", first, timeout=0)
    with pytest.raises(BadSettings, match="to take the context alone"):
        registry.add("mail", "none", lambda: None)
    assert registry.names("mail") == ["send"]
    assert registry.queues() == ["mail"]


def test_async_and_plain_handlers_are_told_apart() -> None:
    class Called:
        async def __call__(self, _: Any) -> None: ...

    async def asynchronous(_: Any) -> None: ...

    registry = Registry()
    assert registry.add("q", "1", asynchronous).is_async
    assert registry.add("q", "2", Called()).is_async
    assert not registry.add("q", "3", lambda _: None).is_async


@pytest.mark.parametrize(
    "how", [{"concurrency": 0}, {"concurrency": 10**6}, {"attempts": 0}, {"limiter": Limiter(0, 5)}]
)
def test_a_queue_is_defined_within_bounds(how: Any) -> None:
    with pytest.raises(BadSettings):
        QueueDefinition("work", **how)


def test_what_bullmq_pins_is_left_unpinned_by_us() -> None:
    """Trap 29: it pins msgpack, semver and croniter exactly; a bound of ours would one day contradict its own."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(each for extra in project["optional-dependencies"].values() for each in extra)]
    # Ours by import as well, so it is named; but by its name alone.
    assert "croniter" in asked
    assert not [each for each in asked if each.startswith(("msgpack", "semver", "croniter")) and each != "croniter"]


def test_progress_of_a_million_digits_is_clamped() -> None:
    assert read_progress(10**1_000_000, None, None, None).progress == 100
