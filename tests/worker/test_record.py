"""BullMQ's records, read as BullMQ reads them."""

import json
from typing import Any

import pytest
from bullmq import Job

from jobcast.worker.record import reader

PLAIN = {
    "name": "encode", "data": '{"n":1}', "timestamp": "7", "delay": "0", "priority": "0", "processedOn": "9",
    "ats": "1",
}  # fmt: skip
OPTIONS: list[dict[str, Any]] = [
    {},
    {"attempts": 3, "delay": 5, "jobId": "j", "lifo": True, "priority": 2, "timestamp": 7},
    {"removeOnComplete": {"age": 60, "count": 5}, "removeOnFail": False},
    {"removeOnComplete": True, "backoff": 250, "attempts": 2},
    {"backoff": {"type": "exponential", "delay": 3, "jitter": 0.5}},
    {"de": {"id": "once"}, "kl": 5, "fpof": True},
    {"stackTraceLimit": 2, "repeat": {"every": 5}},
]
LATER: list[dict[str, str]] = [
    {},
    {"pb": "a worker"},
    {"atm": "1", "stacktrace": '["a"]', "failedReason": "no"},
    {"parent": '{"id":"p","queueKey":"bull:q"}', "parentKey": "bull:q:p"},
    {"rjk": "every", "stc": "1", "defa": "stalled", "progress": "5", "returnvalue": "1", "finishedOn": "10"},
]


class Queue:
    """What a ``Job`` looks at of its queue."""

    def __init__(self) -> None:
        self.backend, self.qualifiedName, self.opts = object(), "bull:q", dict[str, Any]()


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("later", LATER)
def test_a_record_is_read_as_bullmq_itself_reads_it(options: dict[str, Any], later: dict[str, str]) -> None:
    queue, record = Queue(), {**PLAIN, "opts": json.dumps(options), **later}
    found, expected = vars(reader(Job, queue)(record, "j-1")), vars(Job.fromJSON(queue, record, "j-1"))
    if "timestamp" not in options:
        assert found.keys() == expected.keys()
    assert found == expected


def test_two_jobs_share_nothing_that_one_may_change() -> None:
    read = reader(Job, Queue())
    one, two = (read({**PLAIN, "opts": "{}"}, job_id) for job_id in ("a", "b"))
    one.stacktrace.append("x")
    one.opts["attempts"] = 7
    one.data["n"] = 2
    assert (two.stacktrace, two.opts["attempts"], two.data) == ([], 0, {"n": 1})


@pytest.mark.parametrize(
    "broken", [{"data": "{"}, {"opts": "["}, {"opts": "[]"}, {"timestamp": "now"}, {"ats": "x"}, {"opts": "null"}]
)
def test_what_is_no_record_is_refused_as_bullmq_refuses_it(broken: dict[str, str]) -> None:
    record = {**PLAIN, "opts": "{}", **broken}
    with pytest.raises((ValueError, TypeError, AttributeError)):
        Job.fromJSON(Queue(), record, "j-1")
    with pytest.raises((ValueError, TypeError, AttributeError)):
        reader(Job, Queue())(record, "j-1")
