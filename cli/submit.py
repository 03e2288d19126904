"""Submitting a job over HTTP."""

import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from jobcast.cli.asking import ask
from jobcast.shared.errors import BadRequest
from jobcast.shared.names import check_job_id

TIMEOUT: Final = 15.0


def read_data(given: str, option: str = "--data") -> Any:
    """A job's data: JSON as it stands, ``@file``, or ``@-`` for standard input.

    Raises:
        BadRequest: the file cannot be read, or what it holds is not JSON.
    """
    try:
        text = given.encode() if not given.startswith("@") else _read(given[1:])
        return msgspec.json.decode(text)
    except OSError as error:
        raise BadRequest(f"{option}: {given[1:]} cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadRequest(f'{option}: expected JSON, as in \'{{"path": "/usr/lib"}}\': {error}') from error


def _read(name: str) -> bytes:
    return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()


def submit(url: str, body: dict[str, Any]) -> str:
    """Queue a job; returns its id. Raises as :func:`send`."""
    return str(send(url, "/api/v1/jobs", body)["jobId"])


def send(url: str, path: str, body: Any) -> dict[str, Any]:
    """Queue what the body says at one of the gateway's doors; its answer, which carries a ``jobId``.

    Not tried again by itself: without an id of the caller's choice a second try may be a second job.

    Raises:
        Unreachable: no gateway took it, or none said so in time.
        Rejected: the gateway said no.
    """
    return ask(
        url,
        "POST",
        path,
        body=body,
        check=lambda said: check_job_id(said.get("jobId")),
        timeout=TIMEOUT,
        in_doubt="the job may have been queued",
    )
