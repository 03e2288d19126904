"""The tree of errors: each says one sentence to a person and carries a code for a program.

    JobcastError
    ├── BadRequest            bad-request            what was sent cannot be understood
    │   ├── BadJobId          bad-job-id
    │   │   └── JobExists     bad-job-id             it is taken
    │   └── BadQueueName      bad-queue-name
    ├── UnknownJob            unknown-job
    ├── NotPossible           bad-request            understood, but not in the state the job is in
    ├── TooManySubscriptions  too-many-subscriptions
    ├── RateLimited           rate-limited           more calls than one client may make
    ├── PayloadTooLarge       payload-too-large
    ├── Unavailable           unavailable            Redis cannot be reached, or cannot write
    ├── Refused               (reason)               the journal's state law said no
    └── BadSettings           bad-settings           the environment of this process is wrong

Only the edges (HTTP status, acknowledgement, exit code) translate a code into their own terms.
"""

from typing import ClassVar


class JobcastError(Exception):
    """Base of all errors that are meant for whoever made the call."""

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False

    def to_dict(self) -> dict[str, object]:
        """The shape every door sends: ``{code, message, retryable}``."""
        return {"code": self.code, "message": str(self), "retryable": self.retryable}


class BadRequest(JobcastError):
    """What was sent cannot be understood; sending it again cannot help."""

    code = "bad-request"


class BadJobId(BadRequest):
    """Not a job id. Raised before anything reaches Redis."""

    code = "bad-job-id"


class JobExists(BadJobId):
    """The queue has a job of that id already; ``queue`` and ``job_id`` say which."""

    def __init__(self, queue: str, job_id: str) -> None:
        super().__init__(f"queue {queue} has a job {job_id} already; give this one another id")
        self.queue, self.job_id = queue, job_id


class BadQueueName(BadRequest):
    """Not a queue name. Raised before anything reaches Redis."""

    code = "bad-queue-name"


class NotPossible(JobcastError):
    """The call is well formed, but the job is in a state in which it means nothing."""

    code = "bad-request"


class UnknownJob(JobcastError):
    """No record of such a job: never there, or expired."""

    code = "unknown-job"


class TooManySubscriptions(JobcastError):
    """One client asked to watch more than it may."""

    code = "too-many-subscriptions"


class RateLimited(JobcastError):
    """One client makes more calls than it may; the same call may succeed in a moment."""

    code = "rate-limited"
    retryable = True


class PayloadTooLarge(JobcastError):
    """A body, event or message over its limit."""

    code = "payload-too-large"


class Unavailable(JobcastError):
    """Redis cannot be reached or will not write; the same call may succeed later."""

    code = "unavailable"
    retryable = True


class BadSettings(JobcastError):
    """The environment of this process is wrong; it names the variable and what was expected."""

    code = "bad-settings"


class Refused(JobcastError):
    """The journal did not take an event. Nothing was recorded and nothing was published.

    ``reason`` is one of: ``stale-attempt`` (a newer attempt has begun), ``closed`` (this attempt is over),
    ``out-of-order`` (the job is not in a state this event may follow), ``other-queue`` (the record belongs
    to a job of another queue), ``superseded`` (the record has begun a newer life).
    """

    code = "refused"

    def __init__(self, event: str, job_id: str, reason: str, state: str) -> None:
        super().__init__(f"{event} of job {job_id} was refused as {reason}: the job is {state}")
        self.reason = reason
        self.state = state
