"""The bytes of an event, read without a JSON parser, against the decoder of shared.events."""

import json
import string

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobcast.gateway.wire import LARGEST_MESSAGE, Message, follow, parse, signature, with_skipped
from jobcast.shared.events import LARGEST_EVENT, Event, decode, encode_body
from jobcast.shared.journal import MemoryJournal
from jobcast.shared.journal.contract import Life
from jobcast.shared.position import Position
from jobcast.shared.states import LAW
from tests.gateway.events import completed, failed, logged, progressed, queued, started
from tests.gateway.seam import now

job_ids = st.text(string.ascii_letters + string.digits + "_.:-", min_size=1, max_size=128)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.sampled_from(
    ['","final":true', '"final":true', "}]", "\n", "\r\n", "\\", '\\"', "\u2028", "\x00", "名"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def events(draw: st.DrawFn) -> Event:
    job_id = draw(job_ids)
    return draw(
        st.sampled_from(
            [
                queued(job_id),
                started(job_id),
                progressed(job_id, draw(st.floats(0, 100)), details=draw(values), stage=draw(texts)),
                logged(job_id, draw(texts)),
                completed(job_id, result=draw(values)),
                failed(job_id, final=draw(st.booleans()), error=draw(texts)),
            ]
        )
    )


def wire_of(event: Event, seq: int = 1, epoch: str = "k3v9") -> bytes:
    return b'["%s",{"seq":%d,"epoch":"%s",' % (event.kind.encode(), seq, epoch.encode()) + encode_body(event) + b"]"


@given(
    event=events(), seq=st.integers(1, 5), last=st.integers(0, 4), spoilt=st.none() | st.tuples(st.integers(0), texts)
)
def test_an_event_that_follows_is_one_that_is_read_with_the_next_number(
    event: Event, seq: int, last: int, spoilt: tuple[int, str] | None
) -> None:
    wire = wire_of(event, seq)
    if spoilt is not None:
        place = spoilt[0] % len(wire)
        wire = wire[:place] + spoilt[1].encode() + wire[place + 1 :]
    message = parse(wire)
    read = message is not None and message.position == ("k3v9", last + 1) and message.job_id == event.job_id
    assert follow((wire,), last, signature("k3v9", event.job_id)) == (
        read and message is not None and message.name in LAW
    )


@given(event=events(), seq=st.integers(1, 10**15 - 1))
def test_what_is_read_of_an_event_is_what_its_decoder_says(event: Event, seq: int) -> None:
    wire = wire_of(event, seq)
    message, known = parse(wire), decode(wire)
    assert message is not None
    assert message.wire == wire
    assert (message.name, message.job_id) == (known.kind, known.job_id)
    assert message.position == Position(known.epoch, known.seq)
    assert message.ends_job == known.terminal
    assert json.loads(message.payload) == json.loads(wire)[1]


@given(event=events())
def test_what_the_journal_publishes_is_what_a_gateway_reads(event: Event) -> None:
    published: list[bytes] = []
    journal = MemoryJournal(Life(), published=lambda _job, _queue, wire, _: published.append(wire))
    appended = now(journal.append(event))
    message = parse(published[0])
    assert message is not None
    assert message.position == appended.position


@given(event=events(), skipped=st.integers(1, 10**6))
def test_the_number_skipped_is_the_only_thing_that_changes(event: Event, skipped: int) -> None:
    message = parse(wire_of(event))
    assert message is not None
    name, payload = json.loads(with_skipped(message, skipped).wire)
    assert payload.pop("skipped") == skipped
    assert [name, payload] == json.loads(message.wire)
    assert with_skipped(message, skipped).position == message.position


@given(data=st.binary(max_size=200))
def test_any_bytes_are_an_event_or_none_and_never_an_exception(data: bytes) -> None:
    assert parse(data) is None


@given(event=events(), cut=st.integers(0, 400), place=st.integers(0, 400), byte=st.binary(min_size=1, max_size=1))
def test_an_event_cut_short_or_with_a_byte_that_is_no_text_is_none(
    event: Event, cut: int, place: int, byte: bytes
) -> None:
    wire = wire_of(event)
    assert parse(wire[: min(cut, len(wire) - 1)]) is None or wire[:cut].endswith(b"}]")
    spoilt = wire[:place] + byte + wire[place + 1 :]
    message = parse(spoilt)
    if message is not None:
        assert message.wire.decode()
        assert b"\n" not in message.wire
        assert b"\r" not in message.wire


GOOD = wire_of(progressed("j", 5))


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(GOOD.replace(b'"seq":1', b'"seq":0'), id="number 0"),
        pytest.param(GOOD.replace(b'"seq":1', b'"seq":01'), id="a leading zero"),
        pytest.param(GOOD.replace(b'"seq":1', b'"seq":-1'), id="a negative number"),
        pytest.param(GOOD.replace(b'"seq":1', b'"seq":1e3'), id="a float"),
        pytest.param(GOOD.replace(b'"seq":1', b'"seq":' + b"9" * 16), id="a number of sixteen digits"),
        pytest.param(GOOD.replace(b"k3v9", b""), id="no epoch"),
        pytest.param(GOOD.replace(b"k3v9", b"K3V9"), id="an epoch in capitals"),
        pytest.param(GOOD.replace(b'"j"', b'"j k"'), id="a job id with a space"),
        pytest.param(GOOD.replace(b'"j"', b'"' + b"j" * 129 + b'"'), id="a job id of 129"),
        pytest.param(GOOD.replace(b"job-progress", b"JOB-progress"), id="another name"),
        pytest.param(b" " + GOOD, id="a space before"),
        pytest.param(GOOD + b"\n", id="a line break after"),
        pytest.param(GOOD.replace(b"simulate", b"sim\nulate")[:-1] + b"\n]", id="a line break within"),
        pytest.param(GOOD[:-2] + b',"x":"\xff"}]', id="not UTF-8"),
        pytest.param(GOOD[:-2] + b',"x":"' + b"x" * LARGEST_MESSAGE + b'"}]', id="too large"),
        pytest.param(GOOD[:-2] + b',"x":"a\nb"}]', id="a line break in a text"),
        pytest.param(GOOD[:-2] + b',"x":"a\rb"}]', id="a carriage return in a text"),
        pytest.param(GOOD[:-2] + b',"x":"\x1e1\x1e"}]', id="a packet for who polls"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"[]", id="an empty array"),
    ],
)
def test_what_is_not_as_the_journal_writes_it_is_no_event(wire: bytes) -> None:
    assert parse(GOOD) is not None
    assert parse(wire) is None


def test_the_largest_event_the_journal_takes_is_read() -> None:
    body = len(encode_body(logged("j", ""))) + 1
    wire = wire_of(logged("j", "x" * (LARGEST_EVENT - body)), 10**15 - 1, "e" * 32)
    assert parse(wire) is not None


def test_an_event_of_a_kind_nobody_knows_yet_is_carried_and_kept_like_a_state() -> None:
    message = parse(GOOD.replace(b"job-progress", b"job-paused"))
    assert message is not None
    assert message.event_class == "state"
    assert not message.ends_job


@pytest.mark.parametrize(
    ("event", "over"),
    [
        (failed("j", final=False, error='","final":true,"x":"'), False),
        (failed("j", final=True), True),
        (completed("j"), True),
        (progressed("j", {"final": True}), False),
    ],
)
def test_only_the_end_of_a_job_ends_it(event: Event, over: bool) -> None:
    message = parse(wire_of(event))
    assert message is not None
    assert message.ends_job is over


def test_a_message_that_is_no_event_carries_its_payload_and_no_position() -> None:
    message = Message("ack", msgspec.json.encode(["ack", {"ok": True}]), "")
    assert message.payload == b'{"ok":true}'
    assert message.position is None
    assert not message.ends_job
