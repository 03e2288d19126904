"""What an alert is."""

from typing import Any, Final

import msgspec

JOB_FAILURE: Final = "job-failure"
"""A job failed for good: its error, attempts and stack."""
QUEUE_STALL: Final = "queue-stall"
"""Nothing is heard of the worker that has a job."""
QUEUE_UNHEALTHY: Final = "queue-unhealthy"
"""More jobs have failed, or wait, than the operator wants to hear of."""
STUCK: Final = "stuck"
"""Jobs are active for longer than their names allow."""
CIRCUIT_OPEN: Final = "circuit-open"
"""A queue's breaker has opened."""


class Alert(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``id`` is the alert's own and the same in every try to deliver it. ``key`` is what it is about: raised again with
    the same kind and key within a few minutes, it is this alert once more, and ``count`` says how often. ``at`` is when
    it was first raised (Unix ms).
    """

    id: str
    kind: str
    key: str
    queue: str
    text: str
    details: dict[str, Any]
    at: int
    count: int = 1
