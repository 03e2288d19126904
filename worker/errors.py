"""What a handler may raise, and what a worker tells a handler.

JobcastError
├── Cancelled      the attempt is to stop: on request, at its time-out, or with its worker
├── Unrecoverable  trying again cannot help
│   └── BadData    the job's data is not what its handler takes
└── LockLost       the job is no longer ours: another worker has it, or it is gone
"""

from jobcast.shared.errors import JobcastError


class Cancelled(JobcastError):
    """Raised by every call of a context once its attempt is to stop. A handler lets it pass."""

    code = "cancelled"

    def __init__(self, reason: str = "cancelled") -> None:
        super().__init__(reason)
        self.reason = reason


class Unrecoverable(JobcastError):
    """Raise this from a handler when another attempt cannot help: the job fails for good."""

    code = "unrecoverable"


class BadData(Unrecoverable):
    """The job's data is not what its handler takes; the sentence says what was expected."""

    code = "bad-request"


class LockLost(JobcastError):
    """BullMQ no longer counts this job as ours: nothing more may be said or done about it."""

    code = "lock-lost"
