"""Where a part says that a person should look; what becomes of it is for whoever wires the process to choose."""

from collections.abc import Mapping
from typing import Any, Protocol

from jobcast.shared import logs

_log = logs.get("alert")


class Alert(Protocol):
    """Called with the ``kind`` (``circuit-open``, ``dead-letter``) and a ``key`` by which the same news is known again.

    Returns at once and never raises: a sink that must wait keeps what it was given.
    """

    def __call__(self, kind: str, key: str, text: str, details: Mapping[str, Any]) -> None: ...


def log_alert(kind: str, key: str, text: str, details: Mapping[str, Any]) -> None:
    """The sink that is always there."""
    _log.error(text, kind=kind, key=key, **{f"about_{name}": value for name, value in details.items()})
