"""Names: what a job, a queue and a handler may be called, and that all else stops before Redis."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobcast.shared.errors import BadJobId, BadQueueName, BadRequest, BadSettings
from jobcast.shared.keys import Keys
from jobcast.shared.names import check_job_id, check_job_name, check_new_job_id, check_queue_name
from tests.shared.hostile import HOSTILE, NO_TEXT

RESERVED = (
    "active", "completed", "de", "delayed", "events", "failed", "id", "limiter", "marker", "meta", "metrics", "paused",
    "pc", "prioritized", "repeat", "stalled", "stalled-check", "wait", "waiting", "waiting-children",
)  # fmt: skip


@pytest.mark.parametrize("job_id", ["a", "A-Z_0.9:x", "1", "film:7", "..", "-", "x" * 128])
def test_a_job_id_of_the_alphabet_is_returned_as_it_is(job_id: str) -> None:
    assert check_job_id(job_id) == job_id


@pytest.mark.parametrize("queue", ["a", "A-Z_0.9", "1", "x" * 64])
def test_a_queue_name_of_the_alphabet_is_returned_as_it_is(queue: str) -> None:
    assert check_queue_name(queue) == queue


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_name_is_refused_in_one_short_printable_sentence(value: Any) -> None:
    for check, error in ((check_job_id, BadJobId), (check_new_job_id, BadJobId), (check_queue_name, BadQueueName)):
        with pytest.raises(error) as caught:
            check(value)
        message = str(caught.value)
        assert len(message) < 250
        assert message.isprintable()
        assert not caught.value.retryable


@pytest.mark.parametrize("length", [0, 129])
def test_an_id_one_letter_too_short_or_long_is_refused(length: int) -> None:
    with pytest.raises(BadJobId):
        check_job_id("x" * length)
    with pytest.raises(BadQueueName):
        check_queue_name("x" * (65 if length else 0))


def test_a_queue_name_has_no_colon() -> None:
    with pytest.raises(BadQueueName):
        check_queue_name("a:b")


@given(st.text())
def test_whatever_passes_is_of_the_alphabet(text: str) -> None:
    alphabet = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:-")
    try:
        check_job_id(text)
    except BadJobId:
        assert not 1 <= len(text) <= 128 or set(text) - alphabet
    else:
        assert set(text) <= alphabet


@pytest.mark.parametrize("job_id", [*RESERVED, "0", "007", "123456", "a:b", ":"])
def test_an_id_bullmq_cannot_keep_may_be_watched_but_not_queued(job_id: str) -> None:
    assert check_job_id(job_id) == job_id
    with pytest.raises(BadJobId, match="BullMQ"):
        check_new_job_id(job_id)


@pytest.mark.parametrize("job_id", ["active2", "Wait", "1a", "a.b-c_d"])
def test_an_id_that_only_looks_reserved_may_be_queued(job_id: str) -> None:
    assert check_new_job_id(job_id) == job_id


@pytest.mark.parametrize("name", ["encode", "encode film", "кодировать", "a:b/c*", "x" * 128])
def test_a_job_name_is_any_printable_text(name: str) -> None:
    assert check_job_name(name) == name


@pytest.mark.parametrize("name", ["", "a\nb", "a\x00", "\x7f", "x" * 129])
def test_a_job_name_with_control_characters_or_of_no_length_is_refused(name: str) -> None:
    with pytest.raises(BadRequest):
        check_job_name(name)


@pytest.mark.parametrize("name", NO_TEXT.values(), ids=NO_TEXT)
def test_a_job_name_that_is_no_text_is_refused(name: Any) -> None:
    with pytest.raises(BadRequest):
        check_job_name(name)


def test_no_two_names_share_a_redis_key() -> None:
    keys = Keys("p")
    names = [
        keys.state("a"), keys.history("a"), keys.channel("a"), keys.queue_channel("a"), keys.queue_index("a"),
        keys.queues(), keys.state("queue"), keys.channel("queue"), keys.channel("queue:a"), keys.channel("a:state"),
        keys.channel("queues"),
    ]  # fmt: skip
    assert len(set(names)) == len(names)
    assert names[:3] == ["p:{a}:state", "p:{a}:history", "p:{a}"]


@pytest.mark.parametrize("prefix", ["", "a b", "a:b", "{a}", "*", "x" * 33, "é", "a\n"])
def test_a_prefix_that_could_break_a_key_is_refused(prefix: str) -> None:
    with pytest.raises(BadSettings, match="key prefix"):
        Keys(prefix)
