"""Events: what they look like on the wire, and what cannot become one."""

import json
import math
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobcast.shared.errors import BadRequest, PayloadTooLarge
from jobcast.shared.events import DEEPEST, EVENTS, LARGEST_EVENT, JobCompleted, JobProgress, decode, encode_body
from jobcast.shared.journal.contract import Reading
from jobcast.shared.position import Position
from jobcast.shared.snapshot import build
from jobcast.shared.states import LAW
from tests.contract import jobs
from tests.contract.test_law import LEADS_TO, MAY_FOLLOW


def nested(depth: int, *, as_dict: bool = False) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value} if as_dict else [value]
    return value


def done(result: Any) -> JobCompleted:
    return JobCompleted(job_id="j", queue="q", attempt=1, timestamp=5, result=result, processing_time=1, total_time=2)


def at(progress: Any, details: Any = None) -> JobProgress:
    return JobProgress(job_id="j", queue="q", attempt=1, timestamp=5, progress=progress, details=details)


def wire(event: Any) -> bytes:
    return b'["%s",{"seq":1,"epoch":"e",%s]' % (event.kind.encode(), encode_body(event))


@pytest.mark.parametrize("name", jobs.EVERY_EVENT)
def test_each_event_reads_back_as_it_was_written(name: str) -> None:
    event = jobs.EVERY_EVENT[name]("j", 2)
    told = decode(wire(event))
    assert type(told) is EVENTS[name]
    assert msgspec.structs.replace(told, seq=0, epoch="") == event


# The fields of the protocol's table, required ones only; each event's own after those that all have.
COMMON = ["seq", "epoch", "jobId", "queue", "attempt", "timestamp"]
OWN = {
    "job-queued": ["name", "maxAttempts"],
    "job-queue-to-start": ["queueToStartTime", "worker"],
    "job-progress": ["progress", "percent"],
    "job-log": ["line"],
    "job-stalled": ["lastSeen", "reason"],
    "job-completed": ["result", "processingTime", "totalTime"],
    "job-failed": ["error", "attempts", "maxAttempts", "final", "processingTime"],
    "job-cancelled": ["reason"],
}


@pytest.mark.parametrize("name", OWN)
def test_an_event_carries_the_fields_the_protocol_names_and_no_other(name: str) -> None:
    told = json.loads(wire(jobs.EVERY_EVENT[name]("j", 1)))
    assert told[0] == name
    assert list(told[1])[:6] == COMMON
    assert sorted(told[1]) == sorted(COMMON + OWN[name])


def test_the_law_of_the_code_is_the_law_of_the_protocol() -> None:
    assert {name: set(rule.follows) for name, rule in LAW.items()} == MAY_FOLLOW
    assert {name: rule.leads_to for name, rule in LAW.items()} == LEADS_TO
    assert set(EVENTS) == set(LAW) - {"children-progress"} == set(jobs.EVERY_EVENT)
    classes = {name: rule.event_class for name, rule in LAW.items()}
    assert [classes.pop(name) for name in ("job-progress", "children-progress")] == ["progress", "progress"]
    assert classes.pop("job-log") == "log"
    assert set(classes.values()) == {"state"}
    assert all("waiting-children" in rule.follows for rule in LAW.values() if "waiting" in rule.follows)


@pytest.mark.parametrize("progress", [math.nan, math.inf, -math.inf, None, "50", [1], True])
def test_progress_that_is_no_number_and_no_object_is_refused(progress: Any) -> None:
    with pytest.raises(BadRequest, match="job-progress"):
        encode_body(at(progress))


def test_a_number_that_json_lacks_is_null_inside_other_data() -> None:
    told = json.loads(wire(done({"rate": math.nan, "peak": math.inf})))
    assert told[1]["result"] == {"rate": None, "peak": None}


def test_bytes_are_base64_and_sets_are_lists() -> None:
    assert json.loads(wire(done([b"hi", {7}])))[1]["result"] == ["aGk=", [7]]


@pytest.mark.parametrize("number", [2**64 - 1, -(2**63), 2**53 + 1, 0, 1.5e300, 0.1234567890123456789012, 5e-324])
def test_a_number_of_64_bits_is_kept_whole(number: Any) -> None:
    event = decode(wire(done({"n": number, "text": "1" * 40, "key" + "9" * 30: '"' + "9" * 30})))
    assert isinstance(event, JobCompleted)
    assert event.result["n"] == number


@pytest.mark.parametrize("power", [64, 100, 5000])
@pytest.mark.parametrize("sign", [1, -1])
def test_an_integer_beyond_64_bits_is_refused_wherever_it_stands(power: int, sign: int) -> None:
    for value in (sign * 2**power, [sign * 2**power], {"a": {"b": sign * 2**power}}):
        with pytest.raises(BadRequest):
            encode_body(done(value))


def test_an_integer_of_a_million_digits_is_refused() -> None:
    with pytest.raises(BadRequest):
        encode_body(done(10**1_000_000))


@pytest.mark.parametrize("as_dict", [True, False])
def test_data_nested_too_deep_is_refused_and_data_at_the_limit_reaches_every_reader(as_dict: bool) -> None:
    limit = nested(DEEPEST - 1, as_dict=as_dict)
    payload = b'{"seq":1,"epoch":"e",' + encode_body(done(limit))
    fields = {"attempt": b"1", "state": b"completed", "queue": b"q", "at": b"1", "event:job-completed": payload}
    snapshot = build("j", Reading(Position("e", 1), fields))
    assert snapshot.result == limit
    assert orjson.loads(orjson.dumps(msgspec.to_builtins(snapshot)))["result"] == limit
    for depth in (DEEPEST, 300, 990, 100_000):
        with pytest.raises(BadRequest, match="cannot be written as JSON"):
            encode_body(done(nested(depth, as_dict=as_dict)))


def test_many_brackets_side_by_side_or_in_text_are_not_deep() -> None:
    assert encode_body(done([[1], [2]] * 200))
    assert encode_body(done('[{"\\' * 500))


@pytest.mark.parametrize("value", [object(), print, "\ud800", {"\udfff": 1}, {(1, 2): 3}, complex(1, 2)])
def test_what_json_cannot_carry_is_refused_with_the_events_name(value: Any) -> None:
    with pytest.raises(BadRequest, match=r"^job-completed cannot be written as JSON") as caught:
        encode_body(done(value))
    assert len(str(caught.value)) < 300


def test_data_that_holds_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(BadRequest):
        encode_body(done(loop))


def test_an_event_over_the_limit_is_refused_by_size_and_one_at_it_is_taken() -> None:
    overhead = len(encode_body(done(""))) + 1
    assert encode_body(done("x" * (LARGEST_EVENT - overhead)))
    with pytest.raises(PayloadTooLarge, match=str(LARGEST_EVENT + 1)):
        encode_body(done("x" * (LARGEST_EVENT - overhead + 1)))
    with pytest.raises(PayloadTooLarge):
        encode_body(done("é" * (LARGEST_EVENT // 2)))


def test_an_event_that_already_has_a_position_is_not_given_another() -> None:
    with pytest.raises(BadRequest, match="already carries a position"):
        encode_body(decode(wire(done(1))))


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"x", b"null", b"{}", b"[]", b'["job-log"]', b'["job-log",{}]', b'["job-log",null]', b'[1,{}]',
        b'["job-exploded",{}]', b'["job-log",{}', b"\xff\xfe", b'["job-log",{"line":"\xff"}]', b"[" * 100_000,
        b'["job-log",' + b"[" * 100_000, b'["' + b"x" * 100_000 + b'",{}]',
        b'["job-progress",{"jobId":"j","queue":"q","attempt":1,"timestamp":1,"progress":NaN}]',
        b'["job-progress",{"jobId":"j","queue":"q","attempt":1,"timestamp":1,"progress":"50"}]',
        b'["job-progress",{"jobId":"j","queue":"q","attempt":' + b"9" * 1_000_000 + b',"timestamp":1,"progress":1}]',
    ],
    ids=lambda raw: repr(raw[:40]),
)  # fmt: skip
def test_bytes_that_are_no_event_are_refused_shortly(raw: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        decode(raw)
    assert len(str(caught.value)) < 400


def test_a_field_of_a_newer_version_is_passed_over() -> None:
    raw = wire(jobs.log("j"))[:-2] + b',"colour":"red"}]'
    assert decode(raw).kind == "job-log"


TEXT = st.text(st.characters(codec="utf-8"))
NUMBER = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_any_json_result_arrives_as_it_was(result: Any) -> None:
    event = decode(wire(done(result)))
    assert isinstance(event, JobCompleted)
    assert event.result == result
