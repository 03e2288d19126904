"""The place in a queue that a client is told: what it resumes from, so never past what it has not been told."""

from jobcast.gateway.queue_plan import MOST_STANDING
from jobcast.gateway.queue_watch import QueueWatch
from jobcast.shared.journal.contract import Changes, Reading
from jobcast.shared.position import Position


def at(seq: int) -> Position:
    return Position("q", seq)


def reading(watch: QueueWatch, goal: int, *job_ids: str) -> None:
    """Another reading begins; of these jobs nothing is found any more."""
    watch.begin()
    watch.plan(Changes(at(goal), list(job_ids), continued=True), [])
    while asked := watch.asked():
        watch.tell(asked[0], Reading(None, {}))
        watch.todo.done()


def test_the_place_stays_while_a_job_is_owed() -> None:
    """The client left the job's own watch, which had not told all, while the queue was read."""
    watch = QueueWatch("demo", at(1), ())
    reading(watch, 3)
    watch.owe("a", Position("a", 1), level=False)
    here, _ = watch.level(at(3))
    assert (here, watch.behind, watch.place) == (None, True, at(1))
    reading(watch, 3)
    here, _ = watch.level(at(3))
    assert here is not None
    assert (here.queue_position, watch.behind, watch.place) == (at(3), False, at(3))


def test_a_queue_that_is_never_still_moves_the_place_all_the_same() -> None:
    watch = QueueWatch("demo", at(1), ())
    told = []
    for number in range(1, MOST_STANDING + 2):
        reading(watch, 10 * number)
        watch.suspect()
        here, _ = watch.level(at(10 * number + 9))
        told.append(here)
        assert watch.behind
    *before, last = told
    assert before == [None] * MOST_STANDING
    assert last is not None
    assert last.queue_position == watch.place == at(10 * (MOST_STANDING + 1))


def test_a_place_that_went_back_in_the_same_life_is_not_waited_for() -> None:
    """A replica that took over without the last events."""
    watch = QueueWatch("demo", at(1), ())
    reading(watch, 12)
    here, _ = watch.level(at(11))
    assert here is not None
    assert watch.place == at(12)
