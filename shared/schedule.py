"""What a schedule says: when jobs are made, and of which kind. BullMQ's own words, each checked at the door.

Times are Unix ms. Cron text has five fields, or six with the seconds first, as Node's BullMQ reads it. A zone is always
told to BullMQ: without one the same text means UTC to its Python port and the machine's own zone to Node.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

import msgspec
from croniter.croniter import CroniterError

from jobcast.shared.clock import now_ms
from jobcast.shared.cron import next_time
from jobcast.shared.errors import BadRequest
from jobcast.shared.names import check_job_name, check_queue_name
from jobcast.shared.options import JobOptions, read_options

SHORTEST_EVERY: Final = 100
"""Milliseconds: below, a schedule is a loop that belongs into a handler."""
LONGEST_EVERY: Final = 10 * 365 * 24 * 3600 * 1000
ZONELESS: Final = "UTC"

_ID = re.compile(r"[A-Za-z0-9_.-]{1,100}", re.ASCII)
_FIELD = r"[0-9A-Za-z*/,#?-]+"
_DRAWN = re.compile(r"(^|[ ,/])[HR]($|[ ,/])", re.IGNORECASE)
"""croniter draws lots for these, anew each time; Node's parser does not know them."""
_CRON = re.compile(rf"{_FIELD}( +{_FIELD}){{4,5}}", re.ASCII)
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}", re.ASCII)

_Date = Annotated[int, msgspec.Meta(ge=0, le=10**14)] | datetime | None


class Repeat(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True, kw_only=True):
    """When: either ``every`` so many ms or by a cron ``pattern`` in the zone ``tz`` (UTC where none is said).

    ``every`` begins at once, at ``start_date``, or where ``offset`` ms into each interval falls; a pattern begins at
    once where ``immediately`` is said. No run is made for a time after ``end_date``, nor more than ``limit`` of them.
    """

    every: Annotated[int, msgspec.Meta(ge=SHORTEST_EVERY, le=LONGEST_EVERY)] | None = None
    pattern: Annotated[str, msgspec.Meta(max_length=128)] | None = None
    tz: str | None = None
    start_date: _Date = None
    end_date: _Date = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=10**9)] | None = None
    offset: Annotated[int, msgspec.Meta(ge=0)] | None = None
    immediately: bool = False

    def for_bullmq(self) -> dict[str, Any]:
        """The words of BullMQ's repeat options; only what was said, dates in ms."""
        said = {
            "every": self.every,
            "pattern": self.pattern,
            "tz": None if self.pattern is None else self.tz or ZONELESS,
            "startDate": _ms("startDate", self.start_date),
            "endDate": _ms("endDate", self.end_date),
            "limit": self.limit,
            "offset": self.offset or None,
            "immediately": (self.immediately and self.pattern is not None) or None,
        }
        return {word: value for word, value in said.items() if value is not None}


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """Makes jobs ``name`` of ``queue``, one after the other. ``id`` prevents doubles: a second of it is the first."""

    queue: str
    id: str
    name: str
    repeat: Repeat
    data: Any = msgspec.field(default_factory=dict)
    opts: JobOptions = JobOptions()

    def checked(self) -> "Schedule":
        """Itself.

        Raises:
            BadRequest: what cannot be, each in a sentence of its own; BadQueueName.
        """
        check_queue_name(self.queue)
        check_schedule_id(self.id)
        check_job_name(self.name)
        _check_repeat(self.repeat)
        for word, value in (
            ("jobId", self.opts.job_id),
            ("delay", self.opts.delay),
            ("delayUntil", self.opts.delay_until),
            ("deduplication", self.opts.deduplication),
        ):
            if value is not None:
                raise BadRequest(f"expected opts of a schedule without {word}: the schedule itself says it of each job")
        return self


def read_schedule(queue: str, schedule_id: str, given: object) -> Schedule:
    """A schedule as a caller sent it: ``{repeat, name, data?, opts?}``.

    Raises:
        BadRequest: what cannot be; the sentence names it. BadQueueName.
    """
    if not isinstance(given, Mapping):
        raise BadRequest("expected a JSON object {repeat, name, data?, opts?}")
    if unknown := sorted(str(word) for word in set(given) - {"repeat", "name", "data", "opts"}):
        raise BadRequest(f"expected only repeat, name, data and opts; got also {', '.join(unknown)[:200]}")
    return Schedule(
        queue=queue,
        id=schedule_id,
        name=given.get("name", ""),
        repeat=read_repeat(given.get("repeat")),
        data=given.get("data", {}),
        opts=read_options(given.get("opts")),
    ).checked()


def read_repeat(given: object) -> Repeat:
    """Raises ``BadRequest`` for what is no ``{every | pattern, tz?, startDate?, ...}``."""
    try:
        return msgspec.convert(given, Repeat)
    except msgspec.ValidationError as error:
        raise BadRequest(f"repeat: {str(error)[:200]}") from error


def check_schedule_id(value: object) -> str:
    """The id of a schedule to be made; its jobs are called ``repeat:<id>:<time>``, which must be a job's id."""
    if isinstance(value, str) and _ID.fullmatch(value):
        return value
    raise BadRequest(f"expected a schedule's id of 1 to 100 letters, digits and _ . -, got {str(value)[:80]!r}")


def next_run(now: int, repeat: Mapping[str, Any]) -> int | None:
    """When a cron pattern next fires after ``now``; None after its end. In place of BullMQ's own reckoning."""
    if repeat.get("immediately"):
        return now
    zone = ZoneInfo(repeat.get("tz") or ZONELESS)
    found = next_time(repeat["pattern"], zone, max(now, int(repeat.get("startDate") or 0) - 1))
    return None if _is_past(found, repeat) else found


def next_slot(last: int, now: int, repeat: Mapping[str, Any]) -> int | None:
    """When an interval next fires after its run of ``last``, as BullMQ's script reckons it; None after its end.

    What was missed while nobody worked is made good by one run, not by each.
    """
    every = int(repeat["every"])
    found = last + every
    if found < now:
        found = now // every * every + int(repeat.get("offset") or 0)
        found += every if found <= now else 0
    return None if _is_past(found, repeat) else found


def _is_past(time: int, repeat: Mapping[str, Any]) -> bool:
    end = repeat.get("endDate")
    return end is not None and time > int(end)


def _check_repeat(repeat: Repeat) -> None:
    if (repeat.every is None) == (repeat.pattern is None):
        raise BadRequest("expected either every (ms) or pattern (cron) of a schedule, one of them")
    if repeat.immediately and repeat.start_date is not None:
        raise BadRequest("expected either immediately or startDate of a schedule, not both")
    if repeat.every is not None and repeat.tz is not None:
        raise BadRequest("expected tz with a pattern: an interval is the same in every zone")
    if repeat.every is not None and (repeat.offset or 0) >= repeat.every:
        raise BadRequest(f"expected offset below every ({repeat.every} ms), got {repeat.offset}")
    if repeat.pattern is not None and repeat.offset is not None:
        raise BadRequest("expected offset with every: a pattern says itself when it fires")
    told = repeat.for_bullmq()
    if (end := told.get("endDate")) is not None and end <= max(now_ms(), told.get("startDate", 0)):
        raise BadRequest("expected endDate in the future and after startDate")
    if repeat.pattern is not None:
        _check_pattern(repeat.pattern, told)


def _check_pattern(pattern: str, told: dict[str, Any]) -> None:
    if _CRON.fullmatch(pattern) is None or _DRAWN.search(pattern):
        raise BadRequest(f"expected pattern as cron text of five fields, or six with seconds first, got {pattern!r}")
    if _ZONE.fullmatch(told["tz"]) is None or told["tz"] == "localtime":
        raise BadRequest(f"expected tz as a zone of the IANA list, such as Europe/Berlin, got {told['tz'][:64]!r}")
    try:
        found = next_run(now_ms(), {**told, "immediately": False})
    except CroniterError as error:
        raise BadRequest(f"pattern {pattern!r} is no cron text that ever fires: {str(error)[:200]}") from error
    except (KeyError, ValueError, OSError) as error:  # zoneinfo's words for a name without a file, or of a directory
        raise BadRequest(f"expected tz as a zone this machine knows, got {told['tz']!r}") from error
    if found is None:
        raise BadRequest(f"pattern {pattern!r} never fires before its endDate")


def _ms(word: str, date: _Date) -> int | None:
    if isinstance(date, datetime):
        if date.tzinfo is None:
            raise BadRequest(f"expected {word} in ms or with its zone, as in 2030-01-31T08:00:00Z, got {date}")
        return round(date.timestamp() * 1000)
    return date
