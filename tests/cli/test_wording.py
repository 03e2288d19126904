"""What a job said reaches the terminal as words and never as orders."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobcast.cli import wording
from jobcast.cli.wire import Message


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]52;c;cm0gLXJm\x1b\\text", "text"),
        ("\x9b2Jtext", "text"),
        ("one\r\ntwo\tthree", "one two three"),
        ("a\x00b\x08c\x7fd", "abcd"),
        ("\x1b", ""),
        ("admin\u202etxt.exe", "admintxt.exe"),
        ("[bold]not markup[/bold]", "[bold]not markup[/bold]"),
        ("grüße, 世界 🎉", "grüße, 世界 🎉"),
    ],
)
def test_escapes_are_taken_out(said: str, shown: str) -> None:
    assert wording.inert(said) == shown


@given(st.text(st.characters(codec=None)))
def test_nothing_a_terminal_obeys_is_left(said: str) -> None:
    shown = wording.inert(said)
    assert not any(ord(letter) < 0x20 or 0x7F <= ord(letter) <= 0x9F for letter in shown)


@given(st.dictionaries(st.text(), st.text()))
def test_json_keeps_its_value_and_loses_its_power(payload: dict[str, str]) -> None:
    line = wording.inert_json(Message.of("job-log", payload).as_line())
    assert json.loads(line) == {"event": "job-log", **payload} or "event" in payload
    assert not any(ord(letter) < 0x20 or 0x7F <= ord(letter) <= 0x9F for letter in line.decode())
    assert len(line.decode().splitlines()) == 1


@pytest.mark.parametrize(
    ("event", "own", "says"),
    [
        ("job-queued", {"name": "mail", "queue": "q", "delay": 1500}, "mail in q, to start in 1.5 s"),
        ("job-queue-to-start", {"worker": "w\x1b[1m", "queueToStartTime": 12}, "by w after 12 ms"),
        ("job-progress", {"progress": 41.666, "percent": 41.666, "stage": "render"}, "41.67% render"),
        ("job-progress", {"progress": {"done": 3}}, '{"done":3}'),
        ("job-progress", {"progress": 20, "stage": "render", "eta": 9000}, "20% render, 9.0 s left"),
        ("job-progress", {"progress": 20, "eta": 61_000}, "20% 1 min 01 s left"),
        (
            "job-progress",
            {"progress": 60, "children": {"total": 7, "waiting": 1, "active": 0, "completed": 5, "failed": 1}},
            "60% (5 of 7 completed, 1 failed, 1 waiting)",
        ),
        ("job-progress", {"progress": 1, "children": "all\x1b[1m"}, "1%"),
        ("queue-circuit", {"queueName": "q", "state": "open", "reason": "5 failures\x1b[1m"}, "open: 5 failures"),
        ("queue-circuit", {"queueName": "q", "state": "closed"}, "closed"),
        ("job-log", {"line": "hello\nworld", "level": "warning"}, "[warning] hello world"),
        ("job-completed", {"result": {"n": 1}, "processingTime": 61_000}, 'in 1 min 01 s: {"n":1}'),
        (
            "job-failed",
            {"error": "E", "attempts": 0, "maxAttempts": 3, "final": False},
            "(0 of 3 attempts used up, to be tried again): E",
        ),
        ("job-cancelled", {"reason": "enough"}, "enough"),
        ("job-snapshot", {"state": "active", "percent": 7}, "active 7%"),
        ("job-of-tomorrow", {"x": 1}, ""),
    ],
)
def test_an_event_in_words(event: str, own: dict[str, Any], says: str) -> None:
    payload = {"jobId": "5", "epoch": "a", "seq": 3, **own}
    assert wording.says(event, payload) == says
    assert wording.line(event, payload) == f"--:--:-- 5 a-3 {event} {says}".rstrip()


@given(
    st.sampled_from(["job-queued", "job-progress", "job-log", "job-completed", "job-failed", "job-snapshot"]),
    st.dictionaries(
        st.sampled_from(["jobId", "progress", "stage", "details", "error", "result", "timestamp", "line", "delay"]),
        st.one_of(st.none(), st.integers(-(2**53), 2**53), st.text(), st.lists(st.text())),
    ),
)
def test_no_payload_breaks_a_line(event: str, payload: dict[str, Any]) -> None:
    line = wording.line(event, payload)
    assert len(line.splitlines()) == 1


def test_a_long_result_is_cut() -> None:
    assert len(wording.value("x" * 100_000)) < 2100
