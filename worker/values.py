"""What a handler says, made fit for an event: clamped, cut with a mark, or refused with a sentence. Pure."""

import math
from dataclasses import dataclass, replace
from typing import Any, Final, TypeGuard

import msgspec

from jobcast.shared.errors import BadRequest
from jobcast.shared.events import Event, encode_body
from jobcast.shared.rollup import scaled

LONGEST_LINE: Final = 8 * 1024
"""Bytes of UTF-8 in one log line. The journal keeps 256 events of a job: at most 2 MiB of them are lines."""
LONGEST_STAGE: Final = 200
LONGEST_LEVEL: Final = 32
LONGEST_ERROR: Final = 4 * 1024
LONGEST_ETA: Final = 10**13

Progress = float | int | dict[str, Any]


@dataclass(frozen=True, slots=True)
class Said:
    """One call of ``progress``, checked. ``percent`` where it can be told."""

    progress: Progress
    percent: float | int | None
    stage: str | None
    details: Any
    eta: int | None

    def after(self, share: float | None) -> "Said":
        """The same of a job whose children make up ``share`` (0-100) of its progress; None where it has none."""
        if share is None or self.percent is None:
            return self
        percent = scaled(self.percent, share)
        return replace(self, percent=percent, progress=self.progress if isinstance(self.progress, dict) else percent)


def read_progress(value: object, stage: object, details: Any, eta: object) -> Said:
    """Check one call of ``progress``; whether details can be JSON is for the event's encoder to say.

    Raises:
        BadRequest: not a finite number or an object, or a stage or eta of another kind.
    """
    return Said(_progress(value), _percent(value), _stage(stage), details, _eta(eta))


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a finite number; True and False are none."""
    # An int is always finite, and one of four hundred digits has no float to be asked with.
    return (isinstance(value, int) and not isinstance(value, bool)) or (
        isinstance(value, float) and math.isfinite(value)
    )


def _clamp(value: float) -> float | int:
    return min(max(value, 0), 100)


def _progress(value: object) -> Progress:
    if isinstance(value, dict):
        return value
    if is_number(value):
        return _clamp(value)
    raise BadRequest(f"expected progress as a number from 0 to 100 or an object, got {_shown(value)}")


def _percent(value: object) -> float | int | None:
    told = value.get("percent") if isinstance(value, dict) else value
    return _clamp(told) if is_number(told) else None


def _stage(stage: object) -> str | None:
    if stage is None or isinstance(stage, str):
        return None if stage is None else _utf8(stage)[:LONGEST_STAGE]
    raise BadRequest(f"expected stage as text, got {_shown(stage)}")


def _eta(eta: object) -> int | None:
    if eta is None:
        return None
    if not is_number(eta):
        raise BadRequest(f"expected eta in milliseconds, got {_shown(eta)}")
    return round(min(max(eta, 0), LONGEST_ETA))


def check_carried(event: Event, *values: object) -> None:
    """Check that an event carries these of its values as they are, before anybody relies on it.

    JSON has no word for NaN and infinity: the encoder writes null, and whoever reads it finds nothing wrong. Only an
    event that holds a null can have lost one, so only then are the values walked.

    Raises:
        BadRequest, PayloadTooLarge: it cannot be recorded, or holds a number that is none.
    """
    if b"null" not in encode_body(event):
        return
    try:
        left: list[object] = [msgspec.to_builtins(values)]
    except TypeError:  # msgspec.Raw: JSON already, which can be written but not walked
        return
    while left:
        match left.pop():
            case float() as number if not math.isfinite(number):
                raise BadRequest(f"{event.kind} cannot be written as JSON: it holds {number}")
            case dict() as fields:
                left += fields.values()
            case list() | tuple() | set() | frozenset() as items:
                left += items


def read_line(line: object, level: object) -> tuple[str, str | None]:
    """Check one call of ``log``; a line over ``LONGEST_LINE`` is cut with a mark that says how much is gone.

    Raises:
        BadRequest: the line or the level is no text.
    """
    if not isinstance(line, str):
        raise BadRequest(f"expected a log line as text, got {_shown(line)}")
    if level is not None and not isinstance(level, str):
        raise BadRequest(f"expected a level as text, got {_shown(level)}")
    return cut(line, LONGEST_LINE), None if level is None else _utf8(level)[:LONGEST_LEVEL]


def cut(text: str, limit: int) -> str:
    """``text`` in at most about ``limit`` bytes of UTF-8, never within a character; lone surrogates become ``?``."""
    data = text.encode("utf-8", "replace")
    if len(data) <= limit:
        return data.decode("utf-8")
    kept = data[:limit].decode("utf-8", "ignore")
    return f"{kept}… [{len(data) - len(kept.encode())} bytes more]"


def error_text(error: BaseException) -> str:
    """``TypeName: message``, bounded: what a client is told of a failure."""
    try:
        message = str(error)
    except Exception as broken:  # noqa: BLE001  a user's exception may fail at anything
        message = f"(its message cannot be read: {type(broken).__name__})"
    name = type(error).__name__
    return cut(f"{name}: {message}" if message else name, LONGEST_ERROR)


def _utf8(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _shown(value: object) -> str:
    if isinstance(value, int | float):
        return repr(value)[:80]
    return type(value).__name__
