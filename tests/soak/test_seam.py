"""The short version of the seam, with a seed that stays the same."""

from tests.soak.seam import MUST_HAPPEN, play


def test_nothing_is_missed_and_nothing_told_twice_where_the_record_meets_the_feed() -> None:
    played = play(seed=7, first=0, rounds=500)
    assert played.broken == []
    assert [name for name in MUST_HAPPEN if not played.seen[name]] == []
