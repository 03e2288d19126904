"""Many jobs, or a queue, over connections that come and go."""

from typing import Any

import pytest

from jobcast.cli.exits import CANCELLED, COMPLETED, FAILED, Rejected
from jobcast.cli.ledger import Taken
from jobcast.cli.watch import JobsWatch, QueueWatch, Watch
from jobcast.cli.wire import Call, Message
from jobcast.shared.position import Position


def event(kind: str, job_id: str, seq: int, **more: Any) -> Message:
    return Message.of(kind, {"jobId": job_id, "queue": "q", "epoch": "a", "seq": seq, **more})


def snapshot(job_id: str, seq: int, state: str = "active", **more: Any) -> dict[str, Any]:
    return {"jobId": job_id, "queue": "q", "epoch": "a", "seq": seq, "state": state, "recovered": False, **more}


def grant(watch: Watch, call: Call, found: dict[str, Any], *, recovered: bool = False) -> Taken:
    answer = {"id": call.number, "ok": True, "snapshot": found, "recovered": recovered}
    return watch.take(Message.of("ack", answer))


def kinds(taken: Taken) -> list[str]:
    return [message.event for message in taken.show]


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        (["job-completed", "job-completed"], COMPLETED),
        (["job-completed", "job-cancelled"], CANCELLED),
        (["job-cancelled", "job-failed"], FAILED),
    ],
)
def test_of_several_ends_the_worst_is_told(ends: list[str], code: int) -> None:
    watch = JobsWatch(["1", "2"])
    watch.opening()
    for job_id, end in zip(["1", "2"], ends, strict=True):
        assert not watch.settled
        watch.take(event(end, job_id, 9, final=True))
    assert watch.settled
    assert watch.exit_code() == code


def test_a_new_connection_asks_only_for_what_is_still_open_and_from_where_it_stands() -> None:
    watch = JobsWatch(["1", "2"])
    watch.opening()
    watch.take(event("job-completed", "1", 9))
    watch.take(event("job-progress", "2", 4))
    assert [call.payload for call in watch.opening()] == [{"jobId": "2", "since": {"epoch": "a", "seq": 4}}]
    assert watch.resume() == "jobcast tail 2 --since a-4"


def test_an_unknown_job_is_waited_for_and_told_once() -> None:
    watch = JobsWatch(["1"])
    unknown = {"jobId": "1", "state": "unknown", "epoch": None, "seq": 0}
    for expected in (("job 1 is not known yet; waiting for it",), ()):
        (call,) = watch.opening()
        assert grant(watch, call, unknown).notes == expected
    assert not watch.over


def test_a_gap_is_closed_by_asking_again() -> None:
    watch = JobsWatch(["1"], Position("a", 3))
    (first,) = watch.opening()
    grant(watch, first, snapshot("1", 3), recovered=True)
    (call,) = watch.take(event("job-progress", "1", 6)).calls
    assert call.payload == {"jobId": "1", "since": {"epoch": "a", "seq": 3}}


def test_a_refusal_for_good_is_raised_and_one_for_now_is_not() -> None:
    watch = JobsWatch(["1"])
    (call,) = watch.opening()
    no = {"id": call.number, "ok": False, "code": "unavailable", "message": "Redis is away", "retryable": True}
    assert watch.take(Message.of("ack", no)).again is not None
    (call,) = watch.opening()
    with pytest.raises(Rejected, match="may not"):
        watch.take(Message.of("ack", {"id": call.number, "ok": False, "code": "forbidden", "message": "you may not"}))


def test_answers_to_calls_of_another_connection_are_nobodys() -> None:
    watch = JobsWatch(["1"])
    (old,) = watch.opening()
    watch.opening()
    assert grant(watch, old, snapshot("1", 3)) == Taken()
    assert watch.unanswered


def place(seq: int) -> dict[str, Any]:
    return {"epoch": "z", "seq": seq}


def queue_at(seq: int, **jobs: int) -> QueueWatch:
    """A watch that was told of these jobs and of the queue up to ``seq``."""
    watch = QueueWatch("q")
    (call,) = watch.opening()
    assert call.payload == {"queueName": "q"}
    for job_id, at in jobs.items():
        watch.take(Message.of("job-snapshot", snapshot(job_id, at)))
    watch.take(Message.of("queue-position", {"queueName": "q", **place(seq)}))
    grant(watch, call, {"jobs": [snapshot(job_id, at) for job_id, at in jobs.items()]})
    return watch


def test_jobs_that_came_with_the_answer_alone_are_shown_and_the_others_once() -> None:
    watch = QueueWatch("q")
    (call,) = watch.opening()
    assert kinds(watch.take(Message.of("job-snapshot", snapshot("1", 4)))) == ["job-snapshot"]
    taken = grant(watch, call, {"jobs": [snapshot("1", 4), snapshot("2", 7)]})
    assert [message.payload["jobId"] for message in taken.show] == ["2"]


def test_a_queue_goes_on_from_the_last_place_it_was_told() -> None:
    watch = queue_at(5, a=4)
    assert kinds(watch.take(event("job-progress", "a", 5, queuePosition=place(6)))) == ["job-progress"]
    assert watch.resume() == "jobcast tail --queue q --since z-6"
    (call,) = watch.opening()
    assert call.payload == {"queueName": "q", "since": place(6)}
    assert kinds(watch.take(event("job-progress", "a", 5, queuePosition=place(6)))) == []
    assert kinds(watch.take(event("job-completed", "a", 6, queuePosition=place(6)))) == ["job-completed"]
    # What was told is known; those of the jobs that are live now are not begun anew.
    assert grant(watch, call, {"jobs": [snapshot("b", 9)]}, recovered=True) == Taken()
    watch.take(Message.of("queue-position", {"queueName": "q", **place(9)}))
    assert watch.resume() == "jobcast tail --queue q --since z-9"


def test_the_queue_may_be_gone_on_with_from_an_earlier_tail() -> None:
    (call,) = QueueWatch("q", Position("z", 3)).opening()
    assert call.payload == {"queueName": "q", "since": place(3)}


def test_a_queue_that_begins_anew_forgets_what_was_known() -> None:
    watch = queue_at(5, a=4)
    watch.take(Message.of("queue-reset", {"queueName": "q"}))
    assert watch.resume() == "jobcast tail --queue q"
    assert kinds(watch.take(Message.of("job-snapshot", snapshot("a", 4)))) == ["job-snapshot"]


def test_a_change_of_the_queue_s_circuit_is_shown() -> None:
    watch = queue_at(5)
    assert kinds(watch.take(Message.of("queue-circuit", {"queueName": "q", "state": "open"}))) == ["queue-circuit"]
    assert kinds(watch.take(Message.of("queue-circuit", {"queueName": "other", "state": "open"}))) == []


def test_a_job_whose_record_is_gone_is_shown_as_unknown() -> None:
    watch = queue_at(5, a=4)
    gone = {"jobId": "a", "queue": None, "epoch": None, "seq": 0, "state": "unknown", "recovered": False}
    assert kinds(watch.take(Message.of("job-snapshot", gone))) == ["job-snapshot"]


def test_another_queue_is_nobodys() -> None:
    watch = queue_at(5)
    assert watch.take(Message.of("queue-position", {"queueName": "p", **place(9)})) == Taken()
    assert watch.take(event("job-progress", "b", 1, queue="p")) == Taken()
    assert watch.resume() == "jobcast tail --queue q --since z-5"


def test_a_queue_meets_a_job_in_its_midst() -> None:
    watch = queue_at(5)
    assert kinds(watch.take(event("job-progress", "9", 14))) == ["job-progress"]
    assert kinds(watch.take(event("job-progress", "9", 14))) == []
    # Forgotten by the gateway and told again from a later place: shown rather than asked for.
    assert kinds(watch.take(event("job-progress", "9", 20))) == ["job-progress"]


def test_jobs_of_a_queue_that_are_over_are_forgotten() -> None:
    watch = queue_at(5)
    for number in range(5000):
        watch.take(event("job-completed", f"j{number}", 3, queuePosition=place(6 + number)))
    assert len(watch._ledger.jobs) <= 1500


def test_what_was_shown_while_the_place_stood_still_is_known_when_it_comes_again() -> None:
    watch = queue_at(5)
    for again in (False, True):
        for number in range(3000):
            shown = watch.take(event("job-completed", f"j{number}", 3, queuePosition=place(5))).show
            assert bool(shown) is not again
