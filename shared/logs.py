"""Structured logs: one line an event, JSON where a machine reads, colour where a person does; secrets filtered."""

import logging
import re
import sys
from typing import Any

import structlog

_CREDENTIALS = re.compile(r"(\w+://)[^/@\s]*@")
_TOKEN = re.compile(r"((?:token|password|secret|authorization)=)[^&\s\"']+", re.IGNORECASE)
_SECRET_FIELDS = frozenset({"token", "password", "secret", "authorization"})
_HIDDEN = "[hidden]"


def _hide(value: str) -> str:
    return _TOKEN.sub(rf"\1{_HIDDEN}", _CREDENTIALS.sub(rf"\1{_HIDDEN}@", value))


def hide_secrets(_logger: Any, _method: str, fields: Any) -> Any:
    """Leave out what must not be in a log: fields named for secrets, credentials and tokens within URLs."""
    for name, value in fields.items():
        if name.lower() in _SECRET_FIELDS:
            fields[name] = _HIDDEN
        elif isinstance(value, str):
            fields[name] = _hide(value)
    return fields


def configure(level: str, form: str) -> None:
    """Set up logging for a process, the standard library's loggers included. Writes to standard error."""
    as_json = form == "json" or (form == "auto" and not sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
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


def get(name: str) -> structlog.stdlib.BoundLogger:
    """A logger; ``name`` is the part of the system that speaks."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
