"""What a job may be queued with: BullMQ's own words, each checked, an unknown one refused by name."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec

from jobcast.shared.errors import BadRequest
from jobcast.shared.names import check_new_job_id

_Natural = Annotated[int, msgspec.Meta(ge=0, le=10**12)]
LARGEST_PRIORITY = 2_097_152
"""BullMQ's own bound: a larger number would run into the bits that keep the order of arrival."""
LONGEST_DELAY: Final = 10**12

PriorityName = Literal["critical", "high", "normal", "low", "maintenance"]
_URGENCY: Final = {"critical": 10, "high": 7, "normal": 5, "low": 3, "maintenance": 1}
"""As people rate them: higher is sooner."""
PRIORITIES: Final = {name: 11 - urgency for name, urgency in _URGENCY.items()}
"""The same for BullMQ, where lower is sooner: critical 1, high 4, normal 6, low 8, maintenance 10.

None is 0: BullMQ takes a job without any priority before all that have one, so 0 would overtake whoever says nothing.
"""


def priority_number(said: int | str) -> int:
    """BullMQ's number for a priority given by name or as that number; BadRequest for a name nobody knows."""
    if not isinstance(said, str):
        return said
    if said not in PRIORITIES:
        raise BadRequest(f"expected priority as a number or one of {', '.join(PRIORITIES)}, got {said[:40]!r}")
    return PRIORITIES[said]


def check_priority(text: str) -> int | str:
    """A priority as it is typed: a name, or a number from 0; BadRequest for what is neither."""
    if text.isdecimal() and len(text) <= len(str(LARGEST_PRIORITY)) and int(text) <= LARGEST_PRIORITY:
        return int(text)
    priority_number(text)
    return text


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


class Deduplication(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """While a job with this ``id`` waits, is delayed or active, another one is not added; or for ``ttl`` ms.

    ``extend``: each further one begins the ``ttl`` anew. ``replace``: it takes the place of one that is still delayed.
    ``keep_last_if_active``: of those that come while the first is at work, the last is added when that one is over.
    """

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    ttl: _Natural | None = None
    extend: bool | None = None
    replace: bool | None = None
    keep_last_if_active: bool | None = None

    def __post_init__(self) -> None:
        if self.extend and not self.ttl:
            raise BadRequest("opts: expected deduplication.extend together with a ttl above 0, got it alone")


class JobOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """``delay`` in ms, or ``delay_until`` a date with its zone; one that is past is at once.

    ``priority``: 1 is first and 0 is before them all, or a name of ``PRIORITIES``; ``attempts`` counts the first one.
    """

    job_id: str | None = None
    delay: _Natural | None = None
    delay_until: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    priority: Annotated[int, msgspec.Meta(ge=0, le=LARGEST_PRIORITY)] | str | None = None
    attempts: Annotated[int, msgspec.Meta(ge=1, le=1000)] | None = None
    backoff: _Natural | Backoff | None = None
    lifo: bool | None = None
    remove_on_complete: bool | _Natural | Keep | None = None
    remove_on_fail: bool | _Natural | Keep | None = None
    deduplication: Deduplication | None = None

    def __post_init__(self) -> None:
        if isinstance(self.priority, str):
            priority_number(self.priority)
        if self.delay_until is not None:
            if self.delay is not None:
                raise BadRequest("opts: expected either delay or delayUntil, got both")
            if self.delay_until.tzinfo is None:
                raise BadRequest(f"opts: expected delayUntil with a time zone, got {self.delay_until.isoformat()}")

    def for_bullmq(self, now: int) -> dict[str, Any]:
        """The options as BullMQ takes them: only what was said, in its words; ``now`` in Unix ms.

        Raises:
            BadRequest: ``delay_until`` lies beyond what BullMQ can keep in order.
        """
        said = {name: value for name, value in msgspec.to_builtins(self).items() if value is not None}
        if self.priority is not None:
            said["priority"] = priority_number(self.priority)
        if self.delay_until is not None:
            del said["delayUntil"]
            said["delay"] = max(0, round(self.delay_until.timestamp() * 1000) - now)
            if said["delay"] > LONGEST_DELAY:
                raise BadRequest(f"opts: expected delayUntil within 31 years, got {self.delay_until.isoformat()}")
        return said


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
