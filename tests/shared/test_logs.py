"""Logs: one line an event, and no secret in any of them."""

import json
import logging
import subprocess
import sys
import textwrap
from typing import Any

import pytest

from jobcast.shared.logs import hide_secrets
from tests.support.processes import clean_environment

SECRET = "hunter2hunter2"


class Carrier:
    """A value of a foreign class that shows a secret when it is written."""

    def __repr__(self) -> str:
        return f"<Carrier redis://u:{SECRET}@h>"


FIELDS: dict[str, Any] = {
    "token": SECRET,
    "Password": SECRET,
    "access_token": SECRET,
    "client_secret": SECRET,
    "Authorization": f"Bearer {SECRET}",
    "redis_url": f"redis://user:{SECRET}@host:6379/0",
    "url with an at": f"redis://:ab@{SECRET}@host/0",
    "url with a slash": f"redis://:ab/{SECRET}@host/0",
    "query": f"/socket.io/?EIO=4&token={SECRET}&transport=polling",
    "header line": f"Authorization: Bearer {SECRET}",
    "bearer alone": f"got Bearer {SECRET} from it",
    "basic": f"authorization: Basic {SECRET}",
    "json": json.dumps({"jobId": "a", "token": SECRET}),
    "dict": {"token": SECRET, "jobId": "a"},
    "headers": {"authorization": f"Bearer {SECRET}"},
    "pairs": [("redis", f"redis://:{SECRET}@h")],
    "nested": {"request": {"headers": [{"Authorization": SECRET}]}},
    "bytes": f"token={SECRET}".encode(),
    "exception": ValueError(f"redis://:{SECRET}@h"),
    "object": Carrier(),
    "event": f"connecting to redis://:{SECRET}@h with token={SECRET}",
}


@pytest.mark.parametrize("name", FIELDS)
def test_a_secret_in_a_field_is_not_written(name: str) -> None:
    written = repr(hide_secrets(None, "info", {name: FIELDS[name]}))
    assert SECRET not in written
    assert "[hidden]" in written


def test_what_is_no_secret_is_written_as_it_is() -> None:
    fields = {
        "event": "job taken", "job_id": "token-7", "count": 3, "share": 0.5, "ok": True, "none": None,
        "url": "https://example.org/a?b=c", "mail": "a@b", "list": [1, "x"], "dict": {"a": {"b": 1}},
    }  # fmt: skip
    assert hide_secrets(None, "info", dict(fields)) == fields


SCRIPT = textwrap.dedent("""
    import logging, sys
    from jobcast.shared import logs
    logs.configure("info", sys.argv[1], stacks=sys.argv[3] == "stacks")
    secret = sys.argv[2]
    log = logs.get("test")
    log.debug("quiet", token=secret)
    log.info("started", token=secret, headers={"authorization": "Bearer " + secret}, job_id="a\\nb\\x1b[31m")
    logging.getLogger("uvicorn.access").info("GET /?token=%s", secret)
    logging.getLogger("other").warning("GET /?token=%s", secret)
    try:
        raise ConnectionError("redis://u:" + secret + "@h refused")
    except ConnectionError:
        log.exception("broken")
        logging.getLogger("other").exception("broken too")
    log.bind(password=secret).error("bound")
    stack = 'Traceback:\\n  File "jobs.py", line 3'
    log.warning("a job failed", trace=stack)
    log.warning("alert", details={"attempts": 3, "stack": stack})
""")


def said(form: str, stacks: str = "stacks") -> str:
    """What a process with this form of log writes."""
    command = [sys.executable, "-c", SCRIPT, form, SECRET, stacks]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=clean_environment())
    assert run.stdout == "", "standard output is for results"
    return run.stderr


@pytest.mark.parametrize("form", ["json", "text", "auto"])
def test_no_form_of_the_log_shows_a_secret(form: str) -> None:
    written = said(form)
    assert SECRET not in written
    assert "started" in written
    assert "broken too" in written
    assert "quiet" not in written
    assert "refused" in written, "the exception itself is told"


@pytest.mark.parametrize("form", ["json", "text"])
def test_without_stacks_an_error_is_told_by_its_sentence(form: str) -> None:
    assert "Traceback" in said(form)
    written = said(form, "none")
    assert written.count("refused") == 2
    assert "Traceback" not in written
    assert 'File "' not in written
    assert SECRET not in written


def test_json_is_one_object_a_line_with_level_name_and_time() -> None:
    lines = [json.loads(line) for line in said("json").splitlines()]
    assert [line["event"] for line in lines] == [
        "started", "GET /?token=[hidden]", "broken", "broken too", "bound", "a job failed", "alert",
    ]  # fmt: skip
    assert {line["level"] for line in lines} == {"info", "warning", "error"}
    assert all(line["logger"] and line["timestamp"].endswith("Z") for line in lines)
    assert lines[0]["job_id"] == "a\nb\x1b[31m"


def test_the_root_logger_of_this_process_is_left_alone() -> None:
    assert not any(type(handler).__module__.startswith("structlog") for handler in logging.getLogger().handlers)
