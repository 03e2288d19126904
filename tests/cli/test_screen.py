"""Bars on terminals wide and narrow; what a job says moves no cursor."""

import io
import re
from typing import Any

import pytest
from rich.console import Console

from jobcast.cli.screen import Bars, JsonLines, Lines
from jobcast.cli.wire import Message


def message(event: str, **payload: Any) -> Message:
    return Message.of(event, {"jobId": "42", "epoch": "a", "seq": 1, **payload})


def shown(width: int, *messages: Message, height: int = 12) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=width, height=height, color_system=None, highlight=False)
    with Bars(console) as bars:
        for each in messages:
            bars.show(each)
            bars.draw()
    return out.getvalue()


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


@pytest.mark.parametrize("width", [200, 80, 60, 40, 20, 8, 1])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    said = shown(width, message("job-snapshot", state="active", name="import" * 9), message("job-progress", percent=41))
    frames = re.split(r"\x1b\[[0-9]*[A-Z]", said)
    lines = [line for frame in frames for line in plain(frame).splitlines() for line in line.split("\r")]
    assert max(len(line.rstrip()) for line in lines) <= width


def test_a_bar_tells_job_state_percent_and_activity() -> None:
    said = plain(
        shown(
            100,
            message("job-snapshot", state="active", name="import"),
            message("job-progress", percent=41.7, stage="reading"),
        )
    )
    assert "import 42" in said
    assert "41.7%" in said
    assert "reading" in said


def test_a_parent_waits_for_its_children_however_far_they_are() -> None:
    counts = {"total": 7, "waiting": 1, "active": 0, "completed": 5, "failed": 1, "cancelled": 0}
    said = plain(shown(220, message("job-queued", name="join", children={"total": 7, "share": 0.9, "weight": 7})))
    assert "waiting-children" in said
    said = plain(shown(220, message("job-progress", percent=84.7, children=counts)))
    assert "waiting-children" in said
    assert "(5 of 7 completed, 1 failed, 1 waiting)" in said
    assert "active" not in said


def test_the_circuit_of_a_queue_is_no_job() -> None:
    said = plain(shown(100, Message.of("queue-circuit", {"queueName": "mail", "state": "open", "reason": "down"})))
    assert "mail circuit open: down" in said
    assert "unknown" not in said


def test_log_lines_and_the_end_stay_on_the_screen() -> None:
    said = plain(shown(100, message("job-log", line="halfway"), message("job-completed", result=7, processingTime=5)))
    assert "42 halfway" in said
    assert "completed in 5 ms: 7" in said


def test_what_a_job_says_moves_no_cursor() -> None:
    evil = "\x1b[2J\x1b]0;owned\x07\x9b5Aok"
    said = shown(
        100,
        message("job-snapshot", state=evil, name=evil, stage=evil, details=evil),
        message("job-log", line=evil, level=evil),
        message("job-failed", error=evil, final=True),
    )
    assert "ok" in said
    assert "owned" not in said
    assert "\x1b[2J" not in said
    assert "\x9b" not in said


def test_more_jobs_than_lines_are_counted() -> None:
    jobs = [Message.of("job-snapshot", {"jobId": f"j{n}", "state": "active"}) for n in range(30)]
    assert "and 21 more" in plain(shown(80, *jobs))


def test_markup_in_a_name_is_text() -> None:
    assert "[red]x[/red]" in plain(shown(100, message("job-snapshot", state="active", name="[red]x[/red]")))


def test_lines_go_out_and_notes_go_aside(capsys: pytest.CaptureFixture[str]) -> None:
    Lines().show(message("job-log", line="hello"))
    Lines().note("lost\x1b[2J")
    out, err = capsys.readouterr()
    assert out == "--:--:-- 42 a-1 job-log hello\n"
    assert err == "jobcast: lost\n"


def test_json_is_passed_on_as_received(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    JsonLines().show(Message("job-log", {}, b'{"n":1.50,"line":"\xc2\x9b"}'))
    assert capfdbinary.readouterr().out == b'{"event":"job-log","n":1.50,"line":"\\u009b"}\n'


def test_the_bar_of_a_job_that_ended_is_gone_when_its_end_is_told() -> None:
    out = shown(100, message("job-progress", percent=83.3), message("job-completed", result=1, processingTime=5))
    assert "83.3%" not in plain(out).partition("completed in")[2]
