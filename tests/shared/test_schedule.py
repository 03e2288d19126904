"""What a schedule may say, told at the door."""

from datetime import UTC, datetime
from typing import Any

import pytest

from jobcast.shared.errors import BadRequest
from jobcast.shared.schedule import next_run, next_slot, read_schedule

HOUR = 3_600_000


def _read(repeat: Any, **more: Any) -> Any:
    return read_schedule("work", "beat", {"name": "go", "repeat": repeat, **more})


@pytest.mark.parametrize(
    ("repeat", "word"),
    [
        ({}, "either every (ms) or pattern"),
        ({"every": 1000, "pattern": "* * * * *"}, "either every (ms) or pattern"),
        ({"every": 5}, "every"),
        ({"every": "1s"}, "every"),
        ({"every": 1000, "tz": "UTC"}, "tz with a pattern"),
        ({"every": 1000, "offset": 1000}, "offset below every"),
        ({"every": 1000, "endDate": 1}, "endDate in the future"),
        ({"every": 1000, "startDate": "2030-01-01T00:00:00"}, "with its zone"),
        ({"every": 1000, "limit": 0}, "limit"),
        ({"every": 1000, "often": True}, "often"),
        ({"pattern": "* * * *"}, "five fields"),
        ({"pattern": "@hourly"}, "five fields"),
        ({"pattern": "H * * * *"}, "five fields"),
        ({"pattern": "r 0 * * *"}, "five fields"),
        ({"pattern": "61 * * * *"}, "out of range"),
        ({"pattern": "0 0 30 2 *"}, "ever fires"),
        ({"pattern": "0 0 * * *", "tz": "Mars/Phobos"}, "a zone this machine knows"),
        ({"pattern": "0 0 * * *", "tz": "../etc/passwd"}, "a zone of the IANA list"),
        ({"pattern": "0 0 * * *", "tz": "Europe"}, "a zone this machine knows"),
        ({"pattern": "0 0 * * *", "immediately": True, "startDate": 9_000_000_000_000}, "either immediately"),
        ([], "repeat"),
        (None, "repeat"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused_with_what_was_expected(repeat: Any, word: str) -> None:
    with pytest.raises(BadRequest, match=r"^[^\n]+$") as raised:
        _read(repeat)
    assert word in str(raised.value)


@pytest.mark.parametrize(
    "more",
    [
        {"opts": {"jobId": "x"}},
        {"opts": {"delay": 5}},
        {"opts": {"deduplication": {"id": "x"}}},
        {"name": ""},
        {"often": 1},
    ],
)
def test_a_template_says_nothing_the_schedule_says_itself(more: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        _read({"every": 1000}, **more)


@pytest.mark.parametrize("schedule_id", ["", "a:b", "a b", "x" * 101, "ü"])
def test_an_id_is_one_that_makes_job_ids(schedule_id: str) -> None:
    with pytest.raises(BadRequest, match="schedule's id"):
        read_schedule("work", schedule_id, {"name": "go", "repeat": {"every": 1000}})


def test_a_pattern_always_has_its_zone_told() -> None:
    """Trap 27: without one the same text is UTC here and the machine's own zone in Node."""
    assert _read({"pattern": "0 9 * * *"}).repeat.for_bullmq() == {"pattern": "0 9 * * *", "tz": "UTC"}
    berlin = next_run(0, {"pattern": "0 9 * * *", "tz": "Europe/Berlin"})
    assert datetime.fromtimestamp((berlin or 0) / 1000, UTC).hour == 8


def test_nothing_runs_after_its_end() -> None:
    assert next_run(0, {"pattern": "0 9 * * *", "endDate": 8 * HOUR}) is None
    assert next_run(0, {"pattern": "0 9 * * *", "endDate": 9 * HOUR}) == 9 * HOUR
    assert next_slot(0, 10, {"every": HOUR, "endDate": HOUR - 1}) is None
    assert next_slot(0, 10, {"every": HOUR, "endDate": HOUR}) == HOUR


def test_what_was_missed_is_one_run() -> None:
    assert next_slot(HOUR, 50 * HOUR + 7, {"every": HOUR}) == 51 * HOUR
    assert next_slot(HOUR, 50 * HOUR + 7, {"every": HOUR, "offset": 100}) == 50 * HOUR + 100


def test_dates_are_taken_as_text_and_as_numbers() -> None:
    said = _read({"every": 1000, "startDate": "2030-01-01T00:00:00Z", "endDate": 2_000_000_000_000}).repeat.for_bullmq()
    assert said == {"every": 1000, "startDate": 1893456000000, "endDate": 2_000_000_000_000}
