"""What a handler may raise, and what a worker tells a handler.

BaseException
└── Cancelled      the attempt is to stop: on request, at its time-out, or with its worker

JobcastError
├── LockHeld       another job has the lock that this one needs: it is tried again later
├── Unrecoverable  trying again cannot help
│   └── BadData    the job's data is not what its handler takes
├── RetryAfter     not now: again in so many seconds
└── LockLost       the job is no longer ours: another worker has it, or it is gone
"""

import math
from asyncio import CancelledError
from typing import Final

from jobcast.shared.errors import JobcastError

MOST_SECONDS: Final = 10**12
"""A greater number is taken for this one: an int may be larger than any float."""
CANCELLED: Final = "Cancelled: "
"""How the reason of a failed job begins in BullMQ, which has no word for cancelled, when it was that."""


class Cancelled(BaseException):
    """Raised by every call of a context once its attempt is to stop. A handler lets it pass.

    No ``Exception``, as asyncio's own is none: a handler that forgives each row its errors must not forgive this one.
    """

    def __init__(self, reason: str = "cancelled") -> None:
        super().__init__(reason)
        self.reason = reason


class Unrecoverable(JobcastError):
    """Raise this from a handler when another attempt cannot help: the job fails for good."""

    code = "unrecoverable"


class BadData(Unrecoverable):
    """The job's data is not what its handler takes; the sentence says what was expected."""

    code = "bad-request"


class RetryAfter(JobcastError):
    """Raise this from a handler that must wait: the job is tried again in so many ``seconds``, a day at most.

    It uses up no attempt, as BullMQ's RateLimitError and DelayedError do not: a limit is not the job's failure, and one
    that lasts for longer than its attempts would fail every job that comes meanwhile. See ``MOST_POSTPONED``.
    """

    code = "retry-after"

    def __init__(self, seconds: float, message: str = "") -> None:
        # Compared, not converted: an int may be larger than any float.
        if not (isinstance(seconds, int | float) and 0 <= seconds < math.inf):
            raise ValueError(f"expected RetryAfter with a number of seconds, 0 or more, got {seconds!r}")
        self.seconds = float(min(seconds, MOST_SECONDS))
        super().__init__(message or f"again in {self.seconds:g} s")


def cancelled_in(error: BaseException | None) -> Cancelled | None:
    """The ``Cancelled`` that ended a block: itself, or out of a task group whose tasks all ended by being stopped."""
    if isinstance(error, Cancelled):
        return error
    if isinstance(error, BaseExceptionGroup) and error.split((Cancelled, CancelledError))[1] is None:
        found: BaseException | None = error.subgroup(Cancelled)
        while isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        return found if isinstance(found, Cancelled) else None
    return None


class LockHeld(JobcastError):
    """Another job has the lock. Let it pass: the job waits and is tried again, and no attempt of it is used up.

    ``holder``: the id of that job.
    """

    code = "lock-held"
    retryable = True

    def __init__(self, key: str, owner: str) -> None:
        self.key, self.holder = key, owner.partition("/")[0]
        super().__init__(f"lock {key} is held by job {self.holder}")


class LockLost(JobcastError):
    """BullMQ no longer counts this job as ours: nothing more may be said or done about it."""

    code = "lock-lost"
