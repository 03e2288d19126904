"""What a client makes of what it was told."""

from collections.abc import Iterable
from typing import Any

from jobcast.shared.states import LAW


def applied(told: Iterable[tuple[str, dict[str, Any]]]) -> list[int]:
    """The numbers a client applies: from its snapshot on, each once, in order; what it has already is no news."""
    last, numbers = 0, []
    for name, payload in told:
        if name == "job-snapshot":
            last = payload["seq"]
        elif name in LAW and payload["seq"] > last:
            last = payload["seq"]
            numbers.append(last)
    return numbers
