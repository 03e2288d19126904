"""What an error means for its job: try again, try again later, never. As data, a table for each queue.

    QueueDefinition("prices", errors=(
        ErrorRule(MarketClosed, "market-closed", then="later", after=900),
        *COMMON_ERRORS,
    ))

What a handler raises on purpose (``Unrecoverable``, ``RetryAfter``) is its own word and needs no rule. Of everything
else the first rule that matches decides; where none does, the kind is ``unknown``: logged as that, and tried again.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final, Literal

from jobcast.shared import logs
from jobcast.shared.errors import BadSettings, Unavailable
from jobcast.worker.errors import BadData, RetryAfter, Unrecoverable

Then = Literal["retry", "later", "never"]
Matcher = type[BaseException] | int | range | Callable[[BaseException], bool]

UNKNOWN: Final = "unknown"
LATER: Final = 60.0
"""Seconds until the next try after a limit that does not say when it resets."""
LONGEST_WAIT: Final = 24 * 3600.0
"""Seconds. A service that says "in a year" has made a slip, and a job that waits for longer than a day is lost."""
LONGEST_KIND: Final = 64
_EPOCH_FROM: Final = 10**9
"""A reset above this is a time in Unix seconds (2001 and later), one below a span."""

_log = logs.get("classify")


@dataclass(frozen=True, slots=True)
class ErrorRule:
    """Errors that match ``on`` are of this ``kind``, a word for the log.

    ``on``: an exception's type, an HTTP status or a ``range`` of them, a predicate, or a tuple of these. ``then``:
    ``retry`` after the job's own back-off, ``later`` once the limit resets, without using up an attempt, or ``never``.
    When a limit resets the response's headers say, else ``after`` (seconds).

    Raises:
        BadSettings: not a rule.
    """

    on: Matcher | tuple[Matcher, ...]
    kind: str
    then: Then = "retry"
    after: float = LATER

    def __post_init__(self) -> None:
        if not (isinstance(self.kind, str) and 1 <= len(self.kind) <= LONGEST_KIND):
            raise BadSettings(f"expected an error's kind as a word of 1 to {LONGEST_KIND} letters, got {self.kind!r}")
        if self.then not in ("retry", "later", "never"):
            raise BadSettings(f"expected then of rule {self.kind!r} as retry, later or never, got {self.then!r}")
        if not 0 <= self.after <= LONGEST_WAIT:
            raise BadSettings(
                f"expected after of rule {self.kind!r} in seconds up to {LONGEST_WAIT:.0f}, got {self.after}"
            )
        for each in _each(self.on):
            if isinstance(each, bool) or not (isinstance(each, int | range) or callable(each)):
                raise BadSettings(
                    f"expected rule {self.kind!r} on an exception's type, an HTTP status, a range or a predicate, "
                    f"got {each!r}"
                )
            if isinstance(each, type) and not issubclass(each, BaseException):
                raise BadSettings(f"expected rule {self.kind!r} on an exception's type, got {each.__name__}")


@dataclass(frozen=True, slots=True)
class Ruling:
    """What becomes of the job. ``after``: seconds until a try that uses up no attempt; None for the usual back-off."""

    kind: str
    never: bool = False
    after: float | None = None


def classify(error: BaseException, rules: tuple[ErrorRule, ...], now: float) -> Ruling:
    """Judge what a handler raised; ``now`` in Unix seconds."""
    match error:
        case BadData():
            return Ruling("bad-data", never=True)
        case Unrecoverable():
            return Ruling("unrecoverable", never=True)
        case RetryAfter():
            return Ruling("retry-after", after=_bounded(error.seconds))
        case Unavailable():
            # Ours: a line or a state of the job found no place in Redis. No rule of a user's is meant for it.
            return Ruling("unavailable")
    for rule in rules:
        if any(_matches(each, error, rule.kind) for each in _each(rule.on)):
            return _ruled(rule, error, now)
    return Ruling(UNKNOWN)


def _ruled(rule: ErrorRule, error: BaseException, now: float) -> Ruling:
    match rule.then:
        case "never":
            return Ruling(rule.kind, never=True)
        case "later":
            reset = limit_reset(_headers(error), now)
            return Ruling(rule.kind, after=_bounded(rule.after if reset is None else reset))
        case _:
            return Ruling(rule.kind)


def _matches(on: Matcher, error: BaseException, kind: str) -> bool:
    if isinstance(on, type):
        return isinstance(error, on)
    if isinstance(on, int):
        return http_status(error) == on
    if isinstance(on, range):
        return http_status(error) in on
    try:
        return bool(on(error))
    except Exception as broken:  # noqa: BLE001  a user's predicate; the job must get a verdict all the same
        _log.exception("a rule's predicate failed; the rule was passed over", kind=kind, error=repr(broken))
        return False


def _each(on: Matcher | tuple[Matcher, ...]) -> tuple[Matcher, ...]:
    return on if isinstance(on, tuple) else (on,)


def http_status(error: BaseException) -> int | None:
    """The HTTP status an error tells of, as those of httpx and requests (``response``) and aiohttp (``status``) do."""
    response = getattr(error, "response", None)
    for holder, name in ((response, "status_code"), (response, "status"), (error, "status")):
        status = getattr(holder, name, None)
        if isinstance(status, int) and not isinstance(status, bool) and 100 <= status <= 599:
            return status
    return None


def limit_reset(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds until a limit resets, as the headers of a response say; None when they do not.

    ``Retry-After`` (RFC 9110: seconds or a date), else ``RateLimit-Reset`` or ``X-RateLimit-Reset``, which some
    services mean as a span and others as a time.
    """
    said = {name.lower(): value.strip() for name, value in headers.items()}
    retry = said.get("retry-after", "")
    if (span := _number(retry)) is not None:
        return span
    if (date := _date(retry)) is not None:
        return max(0.0, date - now)
    for name in ("ratelimit-reset", "x-ratelimit-reset", "x-rate-limit-reset"):
        if (reset := _number(said.get(name, ""))) is not None:
            return max(0.0, reset - now) if reset > _EPOCH_FROM else reset
    return None


def is_network(error: BaseException) -> bool:
    """Whether no answer came at all: a connection refused or lost, a name not found, a time-out."""
    # A library that was not imported has raised nothing; importing it to ask would cost every worker its start.
    kinds = [
        getattr(sys.modules.get(module), name, None)
        for module, name in (
            ("httpx", "TransportError"),
            ("aiohttp", "ClientConnectionError"),
            ("requests", "ConnectionError"),
            ("requests", "Timeout"),
            ("socket", "gaierror"),
        )
    ]
    known = tuple(kind for kind in kinds if isinstance(kind, type))
    return isinstance(error, (ConnectionError, TimeoutError, *known))


COMMON_ERRORS: Final = (
    ErrorRule(429, "rate-limited", then="later"),
    ErrorRule((401, 403), "authentication", then="never"),
    ErrorRule(is_network, "network"),
    ErrorRule(range(500, 600), "server"),
)
"""What most services mean. Not in force by itself: a job may well be about a 403."""


def _headers(error: BaseException) -> Mapping[str, str]:
    for holder in (getattr(error, "response", None), error):
        headers = getattr(holder, "headers", None)
        if isinstance(headers, Mapping):
            return {str(name): str(value) for name, value in headers.items()}
    return {}


def _number(text: str) -> float | None:
    return float(text) if text.isascii() and text.replace(".", "", 1).isdigit() and len(text) < 20 else None


def _date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _bounded(seconds: Any) -> float:
    return min(max(float(seconds), 0.0), LONGEST_WAIT)
