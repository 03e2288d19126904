"""Structured logs: one line an event, JSON where a machine reads, colour where a person does; secrets filtered."""

import logging
import os
import re
import sys
from typing import Any

import structlog

from jobcast.shared.settings import load

# Up to the last @ of the word: a password may hold an @ or, against the rules, a slash.
_CREDENTIALS = re.compile(r"(\w+://)[^\s\"']*@")
_TOKEN = re.compile(
    r"((?:token|password|secret|authorization)[\"']?\s*[=:]\s*[\"']?)(?:bearer\s+|basic\s+)?[^&\s\"',;}]+",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(bearer\s+)[\w.~+/=-]+", re.IGNORECASE)
_SECRET_FIELDS = frozenset({"token", "password", "secret", "authorization"})
_HIDDEN = "[hidden]"
_STACKS = frozenset({"trace", "stack", "stack_info"})
"""Fields: of a failed job, of an alert's details, and the standard library's."""
# structlog's own, on their way to its formatter; not part of what is written.
_MACHINERY = frozenset({"_record", "_from_structlog", "exc_info"})


def _hide(value: str) -> str:
    value = _CREDENTIALS.sub(rf"\1{_HIDDEN}@", value)
    return _BEARER.sub(rf"\1{_HIDDEN}", _TOKEN.sub(rf"\1{_HIDDEN}", value))


def _clean(name: str, value: Any) -> Any:
    if any(word in name.lower() for word in _SECRET_FIELDS):
        return _HIDDEN
    match value:
        case bytes():
            return _hide(value.decode("utf-8", "replace"))
        case dict():
            return {key: _clean(str(key), each) for key, each in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_clean("", each) for each in value]
        case None | bool() | int() | float():
            return value
    return _hide(str(value))


def hide_secrets(_logger: Any, _method: str, fields: Any) -> Any:
    """Leave out what must not be in a log: fields named for secrets, credentials and tokens within URLs."""
    return {name: value if name in _MACHINERY else _clean(name, value) for name, value in fields.items()}


def leave_out_stacks(_logger: Any, _method: str, fields: Any) -> Any:
    """Tell an error by its sentence alone, without the lines of code it went through."""
    raised = fields.pop("exc_info", None)
    if raised:
        error = raised if isinstance(raised, BaseException) else (sys.exc_info() if raised is True else raised)[1]
        fields.setdefault("error", repr(error))
    return _without_stacks(fields)


def _without_stacks(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _without_stacks(value) if isinstance(value, dict) else value
        for name, value in fields.items()
        if name not in _STACKS
    }


def configure(level: str, form: str, *, stacks: bool = True) -> None:
    """Set up logging for a process, the standard library's loggers included. Writes to standard error."""
    as_json = form == "json" or (form == "auto" and not sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        *([] if stacks else [leave_out_stacks]),
        structlog.processors.format_exc_info,
        hide_secrets,
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Uvicorn says of each connection what the metrics count, and would write down tokens that stand in a query.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    # It writes down whole addresses, and that of a webhook often holds its token.
    logging.getLogger("httpx").setLevel(logging.WARNING)


def configure_logs() -> None:
    """Set up logging for a program of your own that holds a worker, as the environment's ``JOBCAST_LOG_...`` say.

    Raises:
        BadSettings: a ``JOBCAST_`` variable that is none.
    """
    settings = load(os.environ)
    configure(settings.log_level, settings.log_format, stacks=settings.log_stacks)


def get(name: str) -> structlog.stdlib.BoundLogger:
    """A logger; ``name`` is the part of the system that speaks."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
