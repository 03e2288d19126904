"""Submitting a job over HTTP."""

import sys
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec

from jobcast.cli.exits import Rejected, Unreachable
from jobcast.cli.gateway_url import door, is_loopback
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
    try:
        with httpx.Client(timeout=TIMEOUT, trust_env=not is_loopback(url)) as client:
            answer = client.post(
                door(url, path),
                content=msgspec.json.encode(body),
                headers={"content-type": "application/json"},
            )
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
        raise Unreachable(f"no gateway answers at {url} ({error}); is it running? (jobcast up)") from error
    except httpx.HTTPError as error:
        raise Unreachable(f"{url} did not answer ({error}); the job may have been queued all the same") from error
    return _read_answer(url, answer)


def _read_answer(url: str, answer: httpx.Response) -> dict[str, Any]:
    try:
        said = msgspec.json.decode(answer.content, type=dict[str, Any])
        if answer.is_success:
            check_job_id(said.get("jobId"))
            return said
        code, message = str(said["code"]), str(said["message"])
    except (msgspec.DecodeError, BadRequest, KeyError) as error:
        raise Unreachable(
            f"{url} answered {answer.status_code}, but not as a jobcast gateway does: is it one?"
        ) from error
    raise Rejected(code, message, again=said.get("retryable") is True)
