"""The checker of queue watchers finds every way of breaking the promise, and nothing where it is kept."""

import pytest

from jobcast.shared.position import Position
from jobcast.shared.states import JOB_COMPLETED, JOB_LOG, JOB_PROGRESS, JOB_QUEUED, JOB_STARTED
from tests.soak.checker import Recorded, Snapped, Told, Truth
from tests.soak.queue_checker import Asked, At, Forgot, Of, QueueEntry, queue_violations

EVENTS = [JOB_QUEUED, JOB_STARTED, JOB_PROGRESS, JOB_LOG, JOB_COMPLETED]
LAST = len(EVENTS)
ENDED = {"a": 10.0, "b": 20.0}


def q(seq: int, epoch: str = "q") -> Position:
    return Position(epoch, seq)


def truths(*epochs: str) -> dict[str, Truth]:
    found = {"a": Truth(), "b": Truth()}
    for job, truth in found.items():
        for epoch in epochs or ("",):
            for seq, name in enumerate(EVENTS, start=1):
                truth.add(Position(job + epoch, seq), Recorded(name, ends_job=name == JOB_COMPLETED))
        truth.final = Position(job + (epochs or ("",))[-1], LAST)
    return found


def told(job: str, first: int, last: int, place: int | None, *, moving: bool = True) -> list[QueueEntry]:
    """These events of a job, the first at ``place``; not ``moving`` while catching up."""
    return [
        Of(
            job,
            Told(EVENTS[seq - 1], Position(job, seq)),
            None if place is None else q(place + (seq - first if moving else 0)),
        )
        for seq in range(first, last + 1)
    ]


def snapped(job: str, seq: int, state: str = "active") -> Of:
    return Of(job, Snapped(Position(job, seq), state))


A, B = told("a", 1, LAST, 1), told("b", 1, LAST, LAST + 1)
START: list[QueueEntry] = [Asked(None, 1.0)]

KEPT: dict[str, list[QueueEntry]] = {
    "every event of both": [*START, *A, *B],
    "introduced to one": [
        *START,
        snapped("a", 3),
        Of("a", Told(JOB_PROGRESS, Position("a", 3))),
        At(q(3)),
        *told("a", 4, LAST, 4),
        *B,
    ],
    "resumed": [*START, *A, Asked(q(5), 15.0), *told("b", 1, 3, 5, moving=False), At(q(8)), *told("b", 4, LAST, 9)],
    "cut off while it caught up": [
        *START,
        *A,
        Asked(q(5), 15.0),
        *told("b", 1, 3, 5, moving=False),
        Asked(q(5), 16.0),
        *told("b", 1, LAST, 5, moving=False),
        At(q(10)),
    ],
    "progress that a catching-up skipped, told by the one after it": [
        *START,
        *A,
        Asked(q(5), 15.0),
        *told("b", 1, 2, 5, moving=False),
        Of("b", Told(JOB_LOG, Position("b", 4), 1), q(5)),
        Asked(q(5), 16.0),
        *told("b", 1, LAST, 5, moving=False),
        At(q(10)),
    ],
    "progress skipped and declared": [
        *START,
        *A,
        *told("b", 1, 2, 6),
        Of("b", Told(JOB_LOG, Position("b", 4), 1), q(9)),
        *told("b", 5, 5, 10),
    ],
    "one that was over before it began": [Asked(None, 11.0), At(q(5)), *B],
    "begun anew": [*START, *A, *told("b", 1, 2, 6), Asked(None, 15.0), snapped("b", 2), At(q(7)), *told("b", 3, 5, 8)],
}


@pytest.mark.parametrize("log", KEPT.values(), ids=KEPT.keys())
def test_a_promise_kept_is_no_violation(log: list[QueueEntry]) -> None:
    assert queue_violations(log, truths(), ENDED) == []


BROKEN: dict[str, list[QueueEntry]] = {
    "b: was not told 3 before b-4, which says nothing of it": [*START, *A, *told("b", 1, 2, 6), *told("b", 4, 5, 9)],
    "b: was not told 1 before b-2, which says nothing of it": [*START, *A, *told("b", 2, LAST, 7)],
    "b: b-5 skips more than progress: job-log at 4": [
        *START,
        *A,
        *told("b", 1, 3, 6),
        Of("b", Told(JOB_COMPLETED, Position("b", 5), 1), q(10)),
    ],
    "b: was told job-progress at b-3 again: it had been told up to b-3": [
        *START,
        *A,
        *told("b", 1, 3, 6),
        *told("b", 3, LAST, 8),
    ],
    "a: was told job-completed at a-5 again: it had been told up to a-5": [
        *START,
        *A,
        Asked(q(5), 15.0),
        *told("a", 5, 5, 5, moving=False),
        *B,
    ],
    "b: was told job-progress at b-3 again: it had been told up to b-4": [
        *START,
        *A,
        Of("b", Told(JOB_QUEUED, Position("b", 1)), q(6)),
        Of("b", Told(JOB_STARTED, Position("b", 2)), q(7)),
        Of("b", Told(JOB_LOG, Position("b", 4), 1), q(9)),
        Asked(q(9), 16.0),
        *told("b", 3, 3, 9, moving=False),
        *told("b", 5, LAST, 10),
    ],
    "b: was reset from b-2 to b-5, but the history still held what it missed": [
        *START,
        *A,
        *told("b", 1, 2, 6),
        Asked(q(7), 15.0),
        snapped("b", LAST, "completed"),
        At(q(10)),
    ],
    "b: was never told of, though it ended at b-5 while it watched": [*START, *A, At(q(10))],
    "b: was told up to b-4, but the record ends at b-5": [*START, *A, *told("b", 1, 4, 6), At(q(10))],
    "b: the end of the job at b-5 was applied 0 times": [*START, *A, *told("b", 1, 4, 6), At(q(10))],
    "resumed after the place q-7, which it was not told": [*START, *A, Asked(q(7), 15.0), *B],
    "the queue's place went back from q-9 to q-5": [*START, At(q(9)), At(q(5)), *A, *B],
    "the queue's place went from q-5 to another life r-1 without a reset": [*START, *A, At(q(1, "r")), *B],
    "the queue was reset at q-5, but its record stands at q-6": [*START, *A, Forgot(15.0), *B],
    "was told of c, which is no job of the queue": [*START, *A, *B, *told("c", 1, 1, 11)],
    "b: a snapshot at b-5 says recovered, but it takes the place of what was missed": [
        *START,
        *A,
        Of("b", Snapped(Position("b", 5), "completed", recovered=True)),
    ],
    "b: went from b-2 to bf-3 without a snapshot between the two lives": [
        *START,
        *A,
        *told("b", 1, 2, 6),
        Of("b", Told(JOB_PROGRESS, Position("bf", 3)), q(8)),
    ],
}


@pytest.mark.parametrize(("sentence", "log"), BROKEN.items())
def test_a_promise_broken_is_said(sentence: str, log: list[QueueEntry]) -> None:
    assert sentence in queue_violations(log, truths(), ENDED)


def test_the_next_life_of_a_queue_begins_with_a_reset() -> None:
    both = truths("", "f")
    after: list[QueueEntry] = [Of(job, Snapped(Position(f"{job}f", LAST), "completed")) for job in ("a", "b")]
    log: list[QueueEntry] = [*START, *A, Forgot(15.0), *after, At(q(10, "r"))]
    assert queue_violations(log, both, ENDED) == []
