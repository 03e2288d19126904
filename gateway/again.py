"""When clients are told to come again: by lot within a window, or those who left together would return together.

Each door says it as its clients can hear it: ``Retry-After`` on a 503, ``retry:`` on a stream of events. Socket.IO and
the browser's WebSocket have no such word; their clients have a back-off of their own.
"""

import random
from typing import Final

WINDOW: Final = (1, 4)
"""Seconds: so few that nobody waits for nothing. What comes back faster than it can be served is told so again."""


def retry_after() -> str:
    """Whole seconds, for the header field."""
    return str(random.randint(*WINDOW))  # noqa: S311  it spreads, and guards nothing


def retry_ms() -> int:
    """Milliseconds, for a stream of events."""
    return round(random.uniform(*WINDOW) * 1000)  # noqa: S311  it spreads, and guards nothing
