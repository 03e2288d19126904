"""Options: BullMQ's words, each checked; an unknown one or one of the wrong kind is named."""

import math
from typing import Any

import pytest

from jobcast.shared.errors import BadJobId, BadRequest
from jobcast.shared.options import LARGEST_PRIORITY, JobOptions, read_options
from tests.shared.hostile import HOSTILE


def test_no_options_are_no_words_for_bullmq() -> None:
    assert read_options(None) == read_options({}) == JobOptions()
    assert JobOptions().for_bullmq(0) == {}


@pytest.mark.parametrize(
    "given",
    [
        {"delay": 0}, {"delay": 5}, {"priority": 0}, {"priority": LARGEST_PRIORITY}, {"attempts": 1}, {"backoff": 100},
        {"backoff": {"type": "fixed", "delay": 9, "jitter": 0.5}}, {"lifo": True}, {"lifo": False},
        {"removeOnComplete": True}, {"removeOnComplete": False}, {"removeOnComplete": 0}, {"removeOnFail": 100},
        {"removeOnFail": {"age": 3600}}, {"removeOnFail": {"age": 1, "count": 2}}, {"jobId": "film-7"},
        {"deduplication": {"id": "nightly", "ttl": 1000}}, {"deduplication": {"id": "nightly"}},
    ],
    ids=str,
)  # fmt: skip
def test_what_was_said_reaches_bullmq_in_the_same_words(given: dict[str, Any]) -> None:
    said = read_options(given).for_bullmq(0)
    assert said == given
    assert {name: type(value) for name, value in said.items()} == {name: type(given[name]) for name in given}


def test_a_backoff_without_a_delay_says_zero() -> None:
    assert read_options({"backoff": {"type": "exponential"}}).for_bullmq(0) == {
        "backoff": {"type": "exponential", "delay": 0, "jitter": 0.0}
    }


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"dealy": 5}, "dealy"), ({"job_id": "x"}, "job_id"), ({"delay": -1}, "delay"), ({"delay": "5"}, "delay"),
        ({"delay": True}, "delay"), ({"delay": 1.5}, "delay"), ({"delay": math.nan}, "delay"),
        ({"delay": 10**13}, "delay"), ({"delay": 10**5000}, "delay"), ({"priority": LARGEST_PRIORITY + 1}, "priority"),
        ({"priority": -1}, "priority"), ({"attempts": 0}, "attempts"), ({"attempts": 1001}, "attempts"),
        ({"attempts": True}, "attempts"), ({"backoff": {"type": "random"}}, "backoff"), ({"backoff": {}}, "type"),
        ({"backoff": {"type": "fixed", "jitter": 2}}, "jitter"),
        ({"backoff": {"type": "fixed", "jitter": math.nan}}, "jitter"),
        ({"backoff": {"type": "fixed", "x": 2}}, "x"), ({"lifo": 1}, "lifo"), ({"removeOnFail": "yes"}, "removeOnFail"),
        ({"removeOnFail": {"days": 1}}, "days"), ({"deduplication": {"id": ""}}, "id"),
        ({"deduplication": {"id": "x" * 129}}, "id"), ({"deduplication": {}}, "id"), ({"repeat": {}}, "repeat"),
        ({"parent": {"id": "x"}}, "parent"), ({"timestamp": 1}, "timestamp"), ({1: 2}, "key"),
    ],
    ids=lambda value: str(value)[:60] if not isinstance(value, dict) else str(list(value)),
)  # fmt: skip
def test_an_option_that_is_unknown_or_of_the_wrong_kind_is_named(given: dict[Any, Any], named: str) -> None:
    with pytest.raises(BadRequest, match=named) as caught:
        read_options(given)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("given", [[], "x", 7, True, [["delay", 5]]])
def test_options_that_are_no_object_are_refused(given: object) -> None:
    with pytest.raises(BadRequest, match="expected opts as an object"):
        read_options(given)


@pytest.mark.parametrize("name", [name for name in HOSTILE if name != "none"])
def test_a_hostile_id_is_refused_in_options_too(name: str) -> None:
    job_id = HOSTILE[name]
    with pytest.raises(BadJobId if isinstance(job_id, str) else BadRequest):
        read_options({"jobId": job_id})


def test_an_unknown_word_of_ten_thousand_letters_makes_no_long_error() -> None:
    with pytest.raises(BadRequest) as caught:
        read_options({"x" * 10_000: 1})
    assert len(str(caught.value)) < 300
