"""Depending on another job without a flow: fail, and be tried again, until it is completed."""

from collections.abc import Collection
from typing import Any, Final

from jobcast.shared.errors import JobcastError
from jobcast.shared.journal.contract import Journal
from jobcast.shared.names import check_job_id
from jobcast.shared.snapshot import build
from jobcast.worker.errors import Unrecoverable

FINAL: Final = ("failed", "cancelled")
"""States of the other job in which it will not be completed by itself. One that is unknown may yet be queued."""


class DependencyNotReady(JobcastError):
    """The job depends on another that is not completed yet: raised from a handler it fails the attempt."""

    code = "dependency-not-ready"
    retryable = True

    def __init__(self, job_id: str, state: str) -> None:
        super().__init__(f"job {job_id} is {state}; this one depends on it and waits until it is completed")
        self.job_id = job_id
        self.state = state


class DependencyFailed(Unrecoverable):
    """The job depends on another that will not be completed: it fails for good."""

    code = "dependency-failed"

    def __init__(self, job_id: str, state: str) -> None:
        super().__init__(f"job {job_id} is {state}, and this one depends on it")
        self.job_id = job_id
        self.state = state


async def require(journal: Journal, job_id: str, final: Collection[str]) -> Any:
    """See :meth:`Context.require`."""
    found = build(check_job_id(job_id), await journal.read(job_id))
    if found.state == "completed":
        return found.result
    if found.state in final:
        raise DependencyFailed(job_id, found.state)
    raise DependencyNotReady(job_id, found.state)
