"""Cron text across the changes of a zone's clock, which croniter alone reckons wrongly."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import given
from hypothesis import strategies as st

from jobcast.shared.cron import next_time

BERLIN = ZoneInfo("Europe/Berlin")


def _times(pattern: str, after: str, count: int, zone: ZoneInfo = BERLIN) -> list[str]:
    time = round(datetime.fromisoformat(after).timestamp() * 1000)
    found = []
    for _ in range(count):
        time = next_time(pattern, zone, time)
        found.append(datetime.fromtimestamp(time / 1000, zone).strftime("%d %H:%M%z"))
    return found


@pytest.mark.parametrize(
    ("pattern", "after", "times"),
    [
        ("0 9 * * *", "2026-03-28T08:00+01:00", ["28 09:00+0100", "29 09:00+0200", "30 09:00+0200"]),
        ("0 9 * * *", "2026-10-24T08:00+02:00", ["24 09:00+0200", "25 09:00+0100", "26 09:00+0100"]),
        ("0 0 * * *", "2026-03-28T08:00+01:00", ["29 00:00+0100", "30 00:00+0200", "31 00:00+0200"]),
        ("30 2 * * *", "2026-03-28T08:00+01:00", ["29 03:30+0200", "30 02:30+0200", "31 02:30+0200"]),
        ("30 2 * * *", "2026-10-24T08:00+02:00", ["25 02:30+0200", "26 02:30+0100", "27 02:30+0100"]),
        ("0 * * * *", "2026-03-29T00:30+01:00", ["29 01:00+0100", "29 03:00+0200", "29 04:00+0200"]),
        ("0 * * * *", "2026-10-25T01:30+02:00", ["25 02:00+0200", "25 02:00+0100", "25 03:00+0100"]),
        ("*/30 * * * *", "2026-10-25T02:10+02:00", ["25 02:30+0200", "25 02:00+0100", "25 02:30+0100"]),
    ],
)
def test_a_day_has_one_run_and_every_hour_one_when_the_clock_is_changed(
    pattern: str, after: str, times: list[str]
) -> None:
    assert _times(pattern, after, 3) == times


@given(
    pattern=st.sampled_from(
        ["*/5 * * * *", "0 * * * *", "17 3 * * *", "0 9 * * 1-5", "*/20 * * * * *", "0 2-4 * * *", "0 */6 1 * *"]
    ),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
    after=st.integers(1_700_000_000_000, 1_900_000_000_000),
)
def test_a_time_is_later_and_one_the_pattern_names_save_after_a_gap(pattern: str, zone: str, after: int) -> None:
    there = ZoneInfo(zone)
    found = next_time(pattern, there, after)
    assert found > after
    wall = datetime.fromtimestamp(found / 1000, there)
    in_gap = datetime.fromtimestamp(found / 1000 - 3 * 3600, there).utcoffset() != wall.utcoffset()
    assert in_gap or croniter.match(pattern, wall.replace(tzinfo=None), second_at_beginning=True)
