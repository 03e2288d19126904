"""The checker finds every way of breaking the promise, and nothing where it is kept."""

import pytest

from jobcast.shared.position import Position
from jobcast.shared.states import JOB_COMPLETED, JOB_FAILED, JOB_LOG, JOB_PROGRESS, JOB_QUEUED, JOB_STARTED
from tests.soak.checker import Entry, Opened, Recorded, Snapped, Told, Truth, violations

EVENTS = [JOB_QUEUED, JOB_STARTED, JOB_PROGRESS, JOB_LOG, JOB_PROGRESS, JOB_PROGRESS, JOB_LOG, JOB_COMPLETED]
LAST = len(EVENTS)
START: list[Entry] = [Opened(None), Snapped(None, "unknown")]


def at(seq: int, epoch: str = "e") -> Position:
    return Position(epoch, seq)


END = at(LAST)


def told(first: int, last: int, epoch: str = "e") -> list[Entry]:
    """These events, one after the other."""
    return [Told(EVENTS[seq - 1], at(seq, epoch)) for seq in range(first, last + 1)]


def truth(*epochs: str, final: Position | None = END, events: int = LAST) -> Truth:
    found = Truth()
    for epoch in epochs or ("e",):
        for seq, name in enumerate(EVENTS[:events], start=1):
            found.add(at(seq, epoch), Recorded(name, ends_job=name == JOB_COMPLETED))
    found.final = final
    return found


KEPT: dict[str, list[Entry]] = {
    "every event in order": [*START, *told(1, LAST)],
    "late, with the latest event once more": [
        Opened(None),
        Snapped(at(5), "active"),
        Told(JOB_PROGRESS, at(5)),
        *told(6, LAST),
    ],
    "late, the last event being a log": [
        Opened(None),
        Snapped(at(4), "active"),
        Told(JOB_PROGRESS, at(3)),
        *told(5, LAST),
    ],
    "too late": [Opened(None), Snapped(at(LAST), "completed"), Told(JOB_COMPLETED, at(LAST))],
    "resumed": [*START, *told(1, 4), Opened(at(4)), *told(5, LAST), Opened(at(LAST))],
    "resumed from before": [
        Opened(None),
        Snapped(at(4), "active"),
        Told(JOB_PROGRESS, at(3)),
        Opened(at(3)),
        *told(4, LAST),
    ],
    "begun anew": [*START, *told(1, 4), Opened(None), Snapped(at(4), "active"), *told(5, LAST)],
    "progress skipped and declared": [*START, *told(1, 4), Told(JOB_PROGRESS, at(6), skipped=1), *told(7, LAST)],
}


@pytest.mark.parametrize("log", KEPT.values(), ids=KEPT.keys())
def test_a_promise_kept_is_no_violation(log: list[Entry]) -> None:
    assert violations(log, truth()) == []


BROKEN: dict[str, tuple[list[Entry], str]] = {
    "was not told 3 before e-4, which says nothing of it": ([*START, *told(1, 2), *told(4, LAST)], "one lost"),
    "was not told 1 to 2 before e-3, which says nothing of it": ([*START, *told(3, LAST)], "the beginning lost"),
    "was not told 5 before e-6, which says that it skips 2": (
        [*START, *told(1, 4), Told(JOB_PROGRESS, at(6), skipped=2), *told(7, LAST)],
        "skipped counted wrong",
    ),
    "was not told nothing that is missing before e-2, which says that it skips 1": (
        [*START, *told(1, 1), Told(JOB_STARTED, at(2), skipped=1), *told(3, LAST)],
        "skipped with nothing missing",
    ),
    "e-5 skips more than progress: job-log at 4": (
        [*START, *told(1, 2), Told(JOB_PROGRESS, at(5), skipped=2), *told(6, LAST)],
        "a log skipped",
    ),
    "was told job-progress at e-3 again: it had been told up to e-3": (
        [*START, *told(1, 3), *told(3, LAST)],
        "one twice",
    ),
    "was told job-completed at e-8 again: it had been told up to e-8": (
        [*START, *told(1, LAST), Opened(at(LAST)), *told(LAST, LAST)],
        "the end twice, once on each connection",
    ),
    "was told job-log at e-4 again: it had been told up to e-5": (
        [*START, *told(1, 3), Told(JOB_PROGRESS, at(5), skipped=1), *told(4, 4), *told(6, LAST)],
        "out of order",
    ),
    "was told job-failed at e-8, but job-completed was recorded there": (
        [*START, *told(1, 7), Told(JOB_FAILED, at(8))],
        "another event under the number",
    ),
    "was told job-progress at f-3, which was never recorded": (
        [*START, Told(JOB_PROGRESS, at(3, "f"), skipped=2), Opened(None), Snapped(at(LAST), "completed")],
        "an event of nobody",
    ),
    "was told job-queued at e-1 before any snapshot": ([Opened(None), *told(1, LAST)], "no snapshot first"),
    "was reset from e-4 to e-8, but the history still held what it missed": (
        [*START, *told(1, 4), Snapped(at(LAST), "completed")],
        "a reset for convenience",
    ),
    "was reset from e-8 to e-8, but the history still held what it missed": (
        [*START, *told(1, LAST), Opened(at(LAST)), Snapped(at(LAST), "completed")],
        "a reset of who misses nothing",
    ),
    "a snapshot went back from e-5 to e-4": (
        [*START, *told(1, 5), Snapped(at(4), "active"), *told(5, LAST)],
        "a snapshot of the past",
    ),
    "a snapshot at e-4 says completed, but the event there is job-log": (
        [Opened(None), Snapped(at(4), "completed"), *told(5, LAST)],
        "a snapshot that says too much",
    ),
    "a snapshot stands at e-9, which was never recorded": (
        [Opened(None), Snapped(at(9), "active"), Opened(None), Snapped(at(LAST), "completed")],
        "a snapshot of nothing",
    ),
    "a snapshot at e-8 says recovered, but it takes the place of what was missed": (
        [Opened(None), Snapped(at(LAST), "completed", recovered=True)],
        "a snapshot that calls itself no reset",
    ),
    "was told at e-3 that the job is unknown, but its record stands": (
        [*START, *told(1, 3), Snapped(None, "unknown"), *told(1, LAST)],
        "forgotten",
    ),
    "the snapshot at e-4 was followed by 2 once more, but the latest event is 3": (
        [Opened(None), Snapped(at(4), "active"), Told(JOB_STARTED, at(2)), *told(5, LAST)],
        "an older event once more",
    ),
    "ends at e-7, but the record ends at e-8": ([*START, *told(1, 7)], "the end lost"),
    "ends at no position, but the record ends at e-8": (START, "nothing told at all"),
    "the end of the job at e-8 was applied 0 times": ([*START, *told(1, 7)], "the end lost, said again"),
    "resumed after e-6, which it was not told: it is at e-4": (
        [*START, *told(1, 4), Opened(at(6)), *told(7, LAST)],
        "a client that skips by itself",
    ),
}


@pytest.mark.parametrize(("log", "sentence"), [(log, said) for said, (log, _) in BROKEN.items()])
def test_a_promise_broken_is_said(log: list[Entry], sentence: str) -> None:
    assert sentence in violations(log, truth())


def test_one_violation_is_said_once() -> None:
    assert len(violations([*START, *told(1, 2), *told(4, LAST)], truth())) == 1


def test_a_reset_is_no_violation_where_the_history_is_too_short() -> None:
    log: list[Entry] = [*START, *told(1, 2), Snapped(at(6), "active"), *told(7, LAST)]
    assert violations(log, truth(), history=3) == []
    assert violations(log, truth(), history=4)


def test_the_next_life_of_a_record_is_told_by_a_snapshot() -> None:
    both = truth("e", "f", final=at(LAST, "f"))
    begun: list[Entry] = [*START, *told(1, 5)]
    assert violations([*begun, Snapped(at(2, "f"), "active"), *told(3, LAST, "f")], both) == []
    assert violations([*begun, Snapped(None, "unknown"), *told(1, LAST, "f")], both) == []
    assert violations([*begun, *told(1, LAST, "f")], both) == [
        "went from e-5 to f-1 without a snapshot between the two lives"
    ]


def test_the_earlier_life_of_a_record_does_not_come_back() -> None:
    both = truth("e", "f", final=at(LAST, "f"))
    log: list[Entry] = [
        Opened(None),
        Snapped(at(2, "f"), "active"),
        Snapped(at(3), "active"),
        Snapped(at(LAST, "f"), "completed"),
    ]
    assert violations(log, both) == ["went from f-2 back to the earlier life e-3"]


def test_a_record_that_is_gone_ends_with_nothing() -> None:
    gone = truth(final=None)
    assert violations([*START, *told(1, 5), Snapped(None, "unknown")], gone) == []
    assert violations([*START, *told(1, 5)], gone) == ["ends at e-5, but the record ends at no position"]


def test_a_classic_client_is_told_the_end_as_an_event() -> None:
    late: list[Entry] = [Opened(None), Snapped(END, "completed")]
    assert violations([*late, Told(JOB_COMPLETED, END)], truth(), classic=True) == []
    assert violations(late, truth(), classic=True) == [
        "a client that knows no snapshots was never told the event e-8, which ended the job"
    ]


def test_a_job_that_goes_on_has_no_end_to_be_told() -> None:
    assert violations([*START, *told(1, 5)], truth(final=at(5), events=5)) == []
