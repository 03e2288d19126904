"""One question to a gateway over HTTP: its JSON answer, or an error that says what to do."""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from jobcast.cli.exits import Rejected, Unreachable
from jobcast.cli.gateway_url import door, is_loopback
from jobcast.shared.errors import BadRequest

TIMEOUT: Final = 60.0
"""Seconds. A thousand jobs drained take a few."""


def ask(  # noqa: PLR0913  a question's parts
    url: str,
    method: str,
    path: str,
    *,
    query: dict[str, Any] | None = None,
    body: Any = msgspec.UNSET,
    check: Callable[[dict[str, Any]], object] | None = None,
    timeout: float = TIMEOUT,
    in_doubt: str = "it may have been done",
) -> dict[str, Any]:
    """The gateway's answer. Not asked again by itself: what was begun may have been done, as ``in_doubt`` says.

    ``check`` raises ``BadRequest`` for an answer that no jobcast gateway gives.

    Raises:
        Unreachable: no gateway answered, or what answered is none.
        Rejected: the gateway said no.
    """
    import httpx  # noqa: PLC0415  it takes a while, and every command would wait for it

    given = {name: value for name, value in (query or {}).items() if value is not None}
    content = None if body is msgspec.UNSET else msgspec.json.encode(body)
    headers = {} if body is msgspec.UNSET else {"content-type": "application/json"}
    try:
        with httpx.Client(timeout=timeout, trust_env=not is_loopback(url)) as client:
            answer = client.request(method, door(url, path), params=given, content=content, headers=headers)
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
        raise Unreachable(f"no gateway answers at {url} ({error}); is it running? (jobcast up)") from error
    except httpx.HTTPError as error:
        doubt = "" if method == "GET" else f"; {in_doubt} all the same"
        raise Unreachable(f"{url} did not answer ({error}){doubt}") from error
    try:
        said = msgspec.json.decode(answer.content, type=dict[str, Any])
        if answer.is_success:
            if check is not None:
                check(said)
            return said
        code, message = str(said["code"]), str(said["message"])
    except (msgspec.DecodeError, BadRequest, KeyError) as error:
        raise Unreachable(
            f"{url} answered {answer.status_code}, but not as a jobcast gateway does: is it one?"
        ) from error
    raise Rejected(code, message, again=said.get("retryable") is True)
