"""Many jobs, or a queue, over connections that come and go."""

from typing import Any

import pytest

from jobcast.cli.exits import CANCELLED, COMPLETED, FAILED, Rejected
from jobcast.cli.ledger import Taken
from jobcast.cli.watch import CATCHING_UP_AT_ONCE, JobsWatch, QueueWatch, Watch
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


def queue_at(positions: dict[str, int]) -> QueueWatch:
    watch = QueueWatch("q")
    (call,) = watch.opening()
    for job_id, seq in positions.items():
        watch.take(Message.of("job-snapshot", snapshot(job_id, seq)))
        watch.take(event("job-progress", job_id, seq))
    watch.take(Message.of("ack", {"id": call.number, "ok": True, "snapshot": {"jobs": []}}))
    for answered in range(call.number + 1, call.number + 50):
        watch.take(Message.of("ack", {"id": answered, "ok": True, "snapshot": {}}))
    return watch


def reopen(watch: QueueWatch, *jobs: dict[str, Any]) -> Taken:
    (call,) = watch.opening()
    for job in jobs:
        assert not watch.take(Message.of("job-snapshot", job)).calls
    return watch.take(Message.of("ack", {"id": call.number, "ok": True, "snapshot": {"jobs": list(jobs)}}))


def test_a_job_of_a_queue_that_went_on_without_us_is_caught_up_with() -> None:
    watch = queue_at({"1": 4})
    taken = reopen(watch, snapshot("1", 7))
    (call,) = taken.calls
    assert call.payload == {"jobId": "1", "since": {"epoch": "a", "seq": 4}}
    assert [kinds(watch.take(event("job-log", "1", seq))) for seq in (5, 6, 7)] == [["job-log"]] * 3
    (leave,) = grant(watch, call, snapshot("1", 7), recovered=True).calls
    assert leave.event == "unsubscribe-from-job"


def test_a_job_of_a_queue_that_ended_without_us_is_caught_up_with() -> None:
    watch = queue_at({"1": 4})
    (call,) = reopen(watch).calls
    assert kinds(watch.take(event("job-completed", "1", 5))) == ["job-completed"]
    (leave,) = grant(watch, call, snapshot("1", 5, "completed"), recovered=True).calls
    assert leave.event == "unsubscribe-from-job"


def test_a_job_of_a_queue_that_did_nothing_is_left_alone() -> None:
    assert reopen(queue_at({"1": 4}), snapshot("1", 4)).calls == ()


def test_a_queue_catches_up_with_a_few_at_a_time() -> None:
    watch = queue_at({f"j{n}": 4 for n in range(50)})
    calls = list(reopen(watch).calls)
    assert len(calls) == CATCHING_UP_AT_ONCE
    asked = []
    while calls:
        call = calls.pop(0)
        if call.event == "subscribe-to-job":
            asked.append(call.payload["jobId"])
            calls += grant(watch, call, snapshot(call.payload["jobId"], 4), recovered=True).calls
    assert sorted(asked) == sorted(f"j{n}" for n in range(50))


def test_a_queue_meets_a_job_in_its_midst() -> None:
    watch = queue_at({})
    assert kinds(watch.take(event("job-progress", "9", 14))) == ["job-progress"]
    assert kinds(watch.take(event("job-progress", "9", 14))) == []


def test_jobs_of_a_queue_that_are_over_are_forgotten() -> None:
    watch = queue_at({})
    for number in range(5000):
        watch.take(event("job-completed", f"j{number}", 3))
    assert len(watch._ledger.jobs) <= 1000
