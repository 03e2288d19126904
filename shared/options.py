"""What a job may be queued with: BullMQ's own words, each checked, an unknown one refused by name."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from jobcast.shared.errors import BadRequest
from jobcast.shared.names import check_new_job_id

_Natural = Annotated[int, msgspec.Meta(ge=0, le=10**12)]
LARGEST_PRIORITY = 2_097_152
"""BullMQ's own bound: a larger number would run into the bits that keep the order of arrival."""


class Backoff(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long to wait before the next attempt; ``delay`` in ms, ``jitter`` the share of it left to chance.

    Both are always said: a worker of BullMQ that finds no delay fails to count, and leaves the job active.
    """

    type: Literal["fixed", "exponential"]
    delay: _Natural = 0
    jitter: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0


class Keep(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How long a finished job stays: ``age`` in seconds, ``count`` of the newest."""

    age: _Natural | None = None
    count: _Natural | None = None


class Deduplication(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """While a job with this ``id`` is there (or for ``ttl`` ms) another one is not added."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    ttl: _Natural | None = None


class JobOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """``delay`` in ms; ``priority`` 1 is first and 0 is before them all; ``attempts`` counts the first one."""

    job_id: str | None = None
    delay: _Natural | None = None
    priority: Annotated[int, msgspec.Meta(ge=0, le=LARGEST_PRIORITY)] | None = None
    attempts: Annotated[int, msgspec.Meta(ge=1, le=1000)] | None = None
    backoff: _Natural | Backoff | None = None
    lifo: bool | None = None
    remove_on_complete: bool | _Natural | Keep | None = None
    remove_on_fail: bool | _Natural | Keep | None = None
    deduplication: Deduplication | None = None

    def for_bullmq(self) -> dict[str, Any]:
        """The options as BullMQ takes them: only what was said, in its words."""
        return {name: value for name, value in msgspec.to_builtins(self).items() if value is not None}


def read_options(given: object) -> JobOptions:
    """Check options as a caller sent them.

    Raises:
        BadRequest: something in them is not known or not of its kind; the sentence names it.
        BadJobId: the id is one BullMQ cannot keep.
    """
    if given is None:
        return JobOptions()
    if not isinstance(given, Mapping):
        raise BadRequest(f"expected opts as an object, got {type(given).__name__}")
    try:
        options = msgspec.convert(given, JobOptions)
    except msgspec.ValidationError as error:
        raise BadRequest(f"opts: {str(error)[:200]}") from error
    if options.job_id is not None:
        check_new_job_id(options.job_id)
    return options
