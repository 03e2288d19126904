"""One client's view of one job, decision by decision; the random walk through all of them is test_watch_seam."""

import json
from typing import Any

from jobcast.gateway.held import MOST_HELD
from jobcast.gateway.watch import Opened, Watch, conflated
from jobcast.gateway.wire import Message, parse
from jobcast.shared.events import Event
from jobcast.shared.journal import MemoryJournal
from jobcast.shared.journal.contract import Life
from jobcast.shared.position import Position
from tests.gateway.events import completed, failed, logged, progressed, queued, started
from tests.gateway.seam import now

JOB = "j"


class Record:
    """A journal, and the messages it published."""

    def __init__(self, history: int = 256) -> None:
        self.journal = MemoryJournal(Life(history=history), published=self._published)
        self.messages: list[Message] = []

    def _published(self, _job: str, _queue: str, wire: bytes, _queue_wire: bytes) -> None:
        message = parse(wire)
        assert message is not None
        self.messages.append(message)

    def append(self, *events: Event) -> None:
        for event in events:
            now(self.journal.append(event))

    def open(self, watch: Watch) -> Opened:
        since = watch.begin_reading() if watch.behind else watch.last
        return watch.opened(now(self.journal.read(watch.job_id, since)))


def told(messages: list[Message]) -> list[tuple[str, dict[str, Any]]]:
    return [(name, payload) for name, payload in (json.loads(message.wire) for message in messages)]


def test_a_finished_job_is_told_by_its_snapshot_and_its_end_once_more() -> None:
    record = Record()
    record.append(queued(JOB), started(JOB), progressed(JOB, 50), completed(JOB))
    opened = record.open(Watch(JOB))
    assert [(name, p["seq"]) for name, p in told(opened.introduction)] == [("job-snapshot", 4), ("job-completed", 4)]
    assert told(opened.introduction)[0][1]["state"] == "completed"
    assert opened.introduction[0].ends_job
    assert opened.events == []
    assert not opened.recovered


def test_a_log_is_not_the_latest_event_a_newcomer_is_told() -> None:
    record = Record()
    record.append(queued(JOB), started(JOB), progressed(JOB, 5), logged(JOB, "a"))
    assert [name for name, _ in told(record.open(Watch(JOB)).introduction)] == ["job-snapshot", "job-progress"]


def test_a_job_nobody_has_heard_of_is_unknown_and_live_from_its_first_event() -> None:
    record, watch = Record(), Watch(JOB)
    opened = record.open(watch)
    assert [(name, p["state"], p["epoch"]) for name, p in told(opened.introduction)] == [
        ("job-snapshot", "unknown", None)
    ]
    record.append(queued(JOB))
    assert watch.live(record.messages[0]) is record.messages[0]


def test_a_resumption_within_the_history_brings_what_was_missed_and_no_snapshot() -> None:
    record = Record()
    record.append(queued(JOB), started(JOB), progressed(JOB, 1), progressed(JOB, 2))
    assert record.messages[1].position is not None
    opened = record.open(Watch(JOB, record.messages[1].position))
    assert opened.recovered
    assert opened.introduction == []
    assert [p["seq"] for _, p in told(opened.events)] == [3, 4]


def test_a_resumption_from_before_the_history_or_from_another_life_brings_a_snapshot_alone() -> None:
    record = Record(history=2)
    record.append(queued(JOB), started(JOB), progressed(JOB, 1), progressed(JOB, 2), completed(JOB))
    for since in (Position("m1", 1), Position("elsewhere", 3), Position("m1", 99)):
        opened = record.open(Watch(JOB, since))
        assert not opened.recovered
        assert [(name, p["recovered"], p["seq"]) for name, p in told(opened.introduction)] == [
            ("job-snapshot", False, 5)
        ]


def test_what_comes_while_a_reading_is_under_way_is_sent_after_it_once() -> None:
    record, watch = Record(), Watch(JOB)
    record.append(queued(JOB), started(JOB))
    reading = now(record.journal.read(JOB))
    record.append(progressed(JOB, 1), progressed(JOB, 2))
    assert [watch.live(message) for message in record.messages] == [None] * 4
    assert [p["seq"] for _, p in told(watch.opened(reading).events)] == [3, 4]


def test_more_than_may_be_held_during_a_reading_is_read_again_instead() -> None:
    record, watch = Record(), Watch(JOB)
    record.append(queued(JOB), started(JOB))
    reading = now(record.journal.read(JOB))
    record.append(*(progressed(JOB, 1) for _ in range(MOST_HELD + 1)))
    for message in record.messages[2:]:
        watch.live(message)
    assert watch.opened(reading).events == []
    assert watch.behind
    record.append(completed(JOB))
    end = record.open(watch)
    assert watch.last == record.messages[-1].position
    assert end.introduction or end.events


def test_a_gap_is_read_and_not_guessed() -> None:
    record, watch = Record(), Watch(JOB)
    record.append(queued(JOB))
    record.open(watch)
    record.append(started(JOB), progressed(JOB, 1))
    assert watch.live(record.messages[2]) is None
    assert watch.behind
    assert [p["seq"] for _, p in told(record.open(watch).events)] == [2, 3]


def test_an_event_that_comes_again_is_dropped_without_a_reading() -> None:
    record, watch = Record(), Watch(JOB)
    record.append(queued(JOB), started(JOB))
    record.open(watch)
    assert [watch.live(message) for message in record.messages] == [None, None]
    assert not watch.behind


def test_another_life_of_the_record_is_read_before_anything_of_it_is_sent() -> None:
    record, watch = Record(), Watch(JOB)
    record.append(queued(JOB))
    record.open(watch)
    record.journal.forget()
    record.append(queued(JOB), started(JOB))
    assert watch.live(record.messages[2]) is None
    opened = record.open(watch)
    assert [(name, p["epoch"], p["seq"]) for name, p in told(opened.introduction)] == [
        ("job-snapshot", "m2", 2),
        ("job-queue-to-start", "m2", 2),
    ]


def test_a_watch_that_lagged_is_brought_the_newest_progress_and_told_what_it_replaces() -> None:
    record, watch = Record(), Watch(JOB)
    record.append(queued(JOB))
    record.open(watch)
    record.append(started(JOB), *(progressed(JOB, n) for n in range(5)), logged(JOB, "x"), progressed(JOB, 9))
    watch.lag(watch.last)
    assert [(n, p["seq"], p.get("skipped")) for n, p in told(record.open(watch).events)] == [
        ("job-queue-to-start", 2, None),
        ("job-log", 8, 5),
        ("job-progress", 9, None),
    ]


def test_only_progress_is_ever_replaced() -> None:
    record = Record()
    record.append(queued(JOB), started(JOB), progressed(JOB, 1), logged(JOB, "a"), failed(JOB, final=False))
    record.append(started(JOB, 2), progressed(JOB, 2, 2), progressed(JOB, 3, 2), completed(JOB, 2))
    kept = told(conflated(record.messages))
    assert [(name, p["seq"], p.get("skipped")) for name, p in kept] == [
        ("job-queued", 1, None),
        ("job-queue-to-start", 2, None),
        ("job-log", 4, 1),
        ("job-failed", 5, None),
        ("job-queue-to-start", 6, None),
        ("job-progress", 8, 1),
        ("job-completed", 9, None),
    ]
