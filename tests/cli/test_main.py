"""What can be typed, what is refused, and with which exit code."""

import subprocess
import sys
from pathlib import Path

import pytest

from jobcast.cli import exits
from jobcast.cli.exits import Rejected, exit_code, worst
from jobcast.cli.main import main
from jobcast.cli.submit import read_data
from jobcast.cli.wire import JOB_SNAPSHOT
from jobcast.shared import snapshot
from jobcast.shared.errors import BadRequest, BadSettings, Unavailable

NOBODY = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOBCAST_URL", raising=False)


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["tail"], "either ids of jobs or --queue"),
        (["tail", "1", "--queue", "q"], "either ids of jobs or --queue"),
        (["tail", "a b"], "expected a job id"),
        (["tail", "{}"], "expected a job id"),
        (["tail", "x" * 129], "expected a job id"),
        (["tail", "--queue", "*"], "expected a queue name"),
        (["tail", "1", "--since", "7"], "expected a position like k3v9-7"),
        (["tail", "1", "2", "--since", "a-7"], "--since goes with one ID or --queue"),
        (["tail", "1", "--url", "ftp://x"], "expected the gateway's address"),
        (["tail", "1", "--url", "http://x:port"], "expected the gateway's address"),
        (["submit", "q"], "Missing argument"),
        (["submit", "q/r", "n"], "expected a queue name"),
        (["submit", "q", "a\nb"], "expected a job name"),
        (["submit", "q", "n", "--id", "7"], "expected an id BullMQ can keep"),
        (["submit", "q", "n", "--data", "{not"], "expected JSON"),
        (["submit", "q", "n", "--data", "@/no/such/file"], "cannot be read"),
        (["submit", "q", "n", "--attempts", "0"], "0 is not in the range"),
        (["up", "--port", "70000"], "70000 is not in the range"),
        (["up", "--redis", "redis://127.0.0.1:1", "--data", "x"], "--data is for a Redis of its own"),
        (["up", "--module", ""], "expected a module's name"),
        (["worker", "--module", ".mine"], "expected a module's name"),
        (["dead-letters", "replay"], "either ids of letters or --all"),
        (["dead-letters", "replay", "dl_1", "--all"], "either ids of letters or --all"),
        (["dead-letters", "list", "--limit", "0"], "0 is not in the range"),
        (["nothing"], "No such command"),
    ],
)
def test_usage_errors_are_one_sentence_and_exit_code_2(
    args: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(args) == exits.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert sentence in err
    assert "Traceback" not in err


def test_a_misspelt_setting_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("JOBCAST_ULR", "x")
    assert main(["tail", "1"]) == exits.USAGE
    assert "did you mean JOBCAST_URL?" in capsys.readouterr().err


def test_no_gateway_is_exit_code_4(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", "q", "n", "--url", NOBODY]) == exits.UNREACHABLE
    assert main(["tail", "1", "--url", NOBODY, "--patience", "0.3"]) == exits.UNREACHABLE
    out, err = capsys.readouterr()
    assert out == ""
    assert "is it running?" in err


@pytest.mark.parametrize("command", [[], ["up"], ["gateway"], ["worker"], ["submit"], ["tail"]])
def test_help_fits_a_terminal_and_shows_an_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--help"]) == 0
    said = capsys.readouterr().out
    assert f"jobcast {' '.join(command)}" in said
    assert all(len(line) <= 100 for line in said.splitlines())


def test_a_mistake_of_ours_shows_its_place_only_on_request(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_environ: object) -> None:
        raise ZeroDivisionError("by nought")

    monkeypatch.setattr("jobcast.shared.settings.load", broken)
    assert main(["tail", "1"]) == exits.FAILED
    assert "Traceback" not in capsys.readouterr().err
    monkeypatch.setenv("JOBCAST_LOG_LEVEL", "debug")
    assert main(["tail", "1"]) == exits.FAILED
    assert "Traceback" in capsys.readouterr().err


def test_each_error_has_its_exit_code() -> None:
    assert exit_code(BadSettings("x")) == exits.USAGE
    assert exit_code(Unavailable("x")) == exits.UNREACHABLE
    assert exit_code(Rejected("payload-too-large", "x", again=False)) == exits.USAGE
    assert exit_code(Rejected("unavailable", "x", again=True)) == exits.UNREACHABLE
    assert exit_code(Rejected("forbidden", "x", again=False)) == exits.FAILED
    assert worst({0, 3, 1}) == 1
    assert worst({0, 3}) == 3
    assert worst(set()) == 0


def test_data_comes_from_the_line_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "data.json"
    file.write_text('{"a": [1, "ü"]}')
    assert read_data(f"@{file}") == read_data('{"a": [1, "ü"]}') == {"a": [1, "ü"]}
    for wrong in ("", "NaN", "{}x", "[" * 100_000, "\ud800"):
        with pytest.raises(BadRequest):
            read_data(wrong)


def test_light_commands_do_not_load_heavy_parts() -> None:
    """``submit`` and ``tail`` are typed often; uvicorn and bullmq would double their start."""
    heavy = "{'uvicorn', 'bullmq', 'socketio', 'starlette', 'redis', 'structlog'}"
    code = f"import sys, jobcast.cli.main, jobcast.cli.tail, jobcast.cli.submit; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
    assert JOB_SNAPSHOT == snapshot.JOB_SNAPSHOT
