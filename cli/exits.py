"""What the command's exit code says, and the one table that turns an error's code into it."""

from typing import ClassVar, Final

from jobcast.shared.errors import JobcastError

COMPLETED: Final = 0
FAILED: Final = 1
USAGE: Final = 2
CANCELLED: Final = 3
UNREACHABLE: Final = 4
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141

WORST_FIRST: Final = (FAILED, CANCELLED, COMPLETED)
"""Of several jobs the first of these that occurred is told; unreachable goes before them, as it ends the command."""

_BY_CODE: Final = {
    "bad-request": USAGE,
    "bad-job-id": USAGE,
    "bad-queue-name": USAGE,
    "payload-too-large": USAGE,
    "bad-settings": USAGE,
    "unreachable": UNREACHABLE,
    "unavailable": UNREACHABLE,
    "rate-limited": UNREACHABLE,
}


class Unreachable(JobcastError):
    """No gateway answered for as long as the caller was willing to wait."""

    code: ClassVar[str] = "unreachable"
    retryable: ClassVar[bool] = True


class CannotRun(JobcastError):
    """This machine, as it is now, does not let a process be started: a port in use, a directory not writable."""

    code: ClassVar[str] = "cannot-run"


class Rejected(JobcastError):
    """A gateway understood the call and said no; ``said`` is the protocol's code for it."""

    def __init__(self, said: str, message: str, *, again: bool) -> None:
        super().__init__(message)
        self.said = said
        self.again = again


def exit_code(error: JobcastError) -> int:
    """What a script learns of ``error``: usage errors are 2, a service out of reach 4, all else 1."""
    return _BY_CODE.get(error.said if isinstance(error, Rejected) else error.code, FAILED)


def worst(codes: "set[int]") -> int:
    """The one code told for several jobs."""
    return next((code for code in WORST_FIRST if code in codes), COMPLETED)
