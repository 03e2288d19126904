"""Who has fallen silent: looks are counted, and neither time nor clocks decide."""

from jobcast.shared.silence import Silence


def looks(silence: Silence, *beats: str, since: int = 0, every: int = 1000) -> list[list[str]]:
    """What is told at each look, at which the worker ``w`` has this beat."""
    return [silence.look(since + number * every, {"w": beat}) for number, beat in enumerate(beats)]


def test_a_worker_is_told_after_so_many_looks_without_a_new_heartbeat_and_as_long_as_it_lies_there() -> None:
    told = looks(Silence(silent=3), "1", "2", "2", "2", "2", "2", "3", "3")
    assert told == [[], [], [], [], ["w"], ["w"], [], []]


def test_time_in_which_nobody_looked_is_not_held_against_a_worker() -> None:
    """A suspended machine, a judge that was stopped, a Redis that hung: an hour passes between two looks."""
    silence = Silence(silent=3)
    assert looks(silence, "1", "1") == [[], []]
    assert looks(silence, "1", "2", since=3_600_000) == [[], []]


def test_clocks_that_step_change_nothing() -> None:
    silence = Silence(silent=3)
    assert [silence.look(at, {"w": "1"}) for at in (10**12, 0, 10**13, 5)] == [[], [], [], ["w"]]


def test_a_worker_that_went_is_forgotten() -> None:
    silence = Silence(silent=2)
    assert silence.look(0, {"w": "1"}) == silence.look(1, {"w": "1"}) == silence.look(2, {}) == []
    assert silence.look(3, {"w": "1"}) == silence.look(4, {"w": "1"}) == []


def test_it_is_calm_after_so_many_looks_in_a_row_and_no_more_after_a_gap() -> None:
    silence = Silence(calm=2, gap=5000)
    seen = []
    for at in (0, 1000, 2000, 9000, 10_000, 11_000, 4000, 5000):
        silence.look(at, {})
        seen.append(silence.is_calm)
    assert seen == [False, False, True, False, False, True, False, False]
