"""The environment, read once, into one frozen value. A misspelt variable is an error that names it."""

import difflib
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from jobcast.shared.errors import BadSettings

PREFIX = "JOBCAST_"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every field is the variable ``JOBCAST_<NAME>``. Spans are seconds, sizes bytes."""

    host: str = "127.0.0.1"
    port: int = 8080
    url: str = "http://127.0.0.1:8080"
    redis_url: str = "redis://127.0.0.1:6379/0"
    key_prefix: str = "jobcast"
    bullmq_prefix: str = "bull"
    file_roots: str = "."
    history: int = 256
    life: float = 24 * 3600.0
    concurrency: int = 4
    job_timeout: float = 3600.0
    drain: float = 30.0
    max_connections: int = 10_000
    max_subscriptions: int = 200
    max_calls: float = 100.0
    max_admissions: float = 1000.0
    max_message: int = 64 * 1024
    max_header: int = 16 * 1024
    max_fragments: int = 64
    max_attachments: int = 10
    header_deadline: float = 5.0
    connect_deadline: float = 5.0
    body_deadline: float = 10.0
    write_deadline: float = 10.0
    heartbeat: float = 15.0
    ping_interval: float = 25.0
    ping_timeout: float = 20.0
    hosts: str = ""
    origins: str = ""
    unhealthy_failed: int = 100
    unhealthy_waiting: int = 1000
    stuck_after: float = 300.0
    health_every: float = 300.0
    alert_failed: int = 50
    alert_waiting: int = 500
    alert_url: str = ""
    alert_secret: str = ""
    log_level: str = "info"
    log_format: str = "auto"
    log_stacks: bool = True

    @property
    def roots(self) -> tuple[Path, ...]:
        """The directories handlers may read below, as a path list gave them."""
        return tuple(Path(root) for root in self.file_roots.split(os.pathsep) if root)


_FIELD = re.compile(r"`\$\.(\w+)`")

# Read by the test suite and the tools around the project, not by the project.
_NOT_OURS = frozenset({"require_all"})


def load(environ: Mapping[str, str]) -> Settings:
    """Settings from an environment.

    Raises:
        BadSettings: a ``JOBCAST_`` variable that does not exist, or a value that is not of its type.
    """
    given = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environ.items()
        if name.startswith(PREFIX) and name.removeprefix(PREFIX).lower() not in _NOT_OURS
    }
    known = set(Settings.__struct_fields__)
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {PREFIX}{near[0].upper()}?" if near else ""
            raise BadSettings(f"{PREFIX}{name.upper()} is no setting of jobcast{hint}")
    try:
        settings = msgspec.convert(given, Settings, strict=False)
    except msgspec.ValidationError as error:
        # msgspec says where as a path, "$.port"; the reader of the message knows the variable.
        text = _FIELD.sub(lambda found: PREFIX + found[1].upper(), str(error))
        raise BadSettings(f"a {PREFIX} variable has a value of the wrong kind: {text}") from error
    _check(settings)
    return settings


_POSITIVE = (
    "history",
    "life",
    "concurrency",
    "job_timeout",
    *(name for name in Settings.__struct_fields__ if name.startswith("max_") or name.endswith("_deadline")),
    "heartbeat",
    "unhealthy_failed",
    "unhealthy_waiting",
    "stuck_after",
    "health_every",
    "ping_interval",
    "ping_timeout",
)


def _check(settings: Settings) -> None:
    if not 0 <= settings.port <= 65535:
        raise BadSettings(f"expected {PREFIX}PORT from 0 to 65535, got {settings.port}")
    for name in _POSITIVE:
        if not 0 < getattr(settings, name) < math.inf:
            raise BadSettings(f"expected {PREFIX}{name.upper()} above 0, got {getattr(settings, name)}")
    if not 0 <= settings.drain < math.inf:
        raise BadSettings(f"expected {PREFIX}DRAIN from 0, got {settings.drain}")
    for name in ("alert_failed", "alert_waiting"):
        if getattr(settings, name) < 0:
            raise BadSettings(f"expected {PREFIX}{name.upper()} from 0, got {getattr(settings, name)}")
    if settings.alert_url and not (_is_http(settings.alert_url) and settings.alert_secret):
        # The value is not shown: a receiver's address often holds its token.
        raise BadSettings(f"expected {PREFIX}ALERT_URL as an http or https address, and {PREFIX}ALERT_SECRET with it")
    if settings.log_level not in {"debug", "info", "warning", "error"}:
        raise BadSettings(f"expected {PREFIX}LOG_LEVEL debug, info, warning or error, got {settings.log_level!r}")
    if settings.log_format not in {"auto", "json", "text"}:
        raise BadSettings(f"expected {PREFIX}LOG_FORMAT auto, json or text, got {settings.log_format!r}")


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, say
        return False
