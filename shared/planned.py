"""A schedule as BullMQ holds it. Values in, values out."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from bullmq.job import optsFromJSON

from jobcast.shared.clock import now_ms
from jobcast.shared.schedule import next_run, next_slot

_NUMBERS: Final = ("every", "startDate", "endDate", "limit", "offset")


@dataclass(frozen=True, slots=True)
class Planned:
    """One schedule; times in Unix ms. ``repeat`` and ``opts`` are in BullMQ's words.

    ``next``: the run made last. ``pending``: it waits still, made by a clock that showed ``made_at``. ``made`` counts
    the runs, that one included.
    """

    queue: str
    id: str
    name: str
    data: Any
    opts: dict[str, Any]
    repeat: dict[str, Any]
    next: int
    made: int
    pending: bool
    made_at: int

    @property
    def job_id(self) -> str:
        """The job of the run made last."""
        return f"repeat:{self.id}:{self.next}"

    @property
    def ran(self) -> int:
        """How many runs were taken up."""
        return self.made - self.pending

    @property
    def is_over(self) -> bool:
        """Whether it makes no further run."""
        if self.pending:
            return False
        if (limit := self.repeat.get("limit")) is not None and self.made >= limit:
            return True
        if "endDate" not in self.repeat:
            return False
        now = max(now_ms(), self.next)
        try:
            after = next_slot(self.next, now, self.repeat) if "every" in self.repeat else next_run(now, self.repeat)
        except (KeyError, ValueError, OSError):  # cron text or a zone of another program, not to be read here
            return False
        return after is None

    def for_bullmq(self) -> dict[str, Any]:
        """The repeat options of the run made last."""
        return {**self.repeat, "count": self.made}

    def says(self, name: str, repeat: Mapping[str, Any], data: Any, opts: Mapping[str, Any]) -> bool:
        """Whether these are its terms and its template."""
        return self.repeats(repeat) and self.name == name and self.opts == dict(opts) and _plain(data) == self.data

    def repeats(self, repeat: Mapping[str, Any]) -> bool:
        """Whether these are its terms. An ``offset`` BullMQ found by itself is none of them."""
        apart = {"immediately"} | (set() if "offset" in repeat else {"offset"})
        return {word: value for word, value in self.repeat.items() if word not in apart} == {
            word: value for word, value in repeat.items() if word not in apart
        }

    def keeps_time(self, repeat: Mapping[str, Any]) -> bool:
        """Whether BullMQ would go on by the old times for other terms: it does for the same interval."""
        return "every" in repeat and repeat["every"] == self.repeat.get("every")

    def moved_to(self, time: int) -> "Planned":
        return replace(self, next=time, pending=False)


def read_planned(
    queue: str, schedule_id: str, score: int, record: Mapping[str, str], waits: Sequence[str | None]
) -> Planned:
    """A schedule by its hash and its score; ``waits``: when its last run was made, and when it was taken."""
    made_at, taken_at = waits
    repeat: dict[str, Any] = {word: record[word] for word in ("pattern", "tz") if record.get(word)}
    repeat.update((word, number) for word in _NUMBERS if (number := int(float(record.get(word) or 0))))
    if "pattern" in repeat:
        repeat.pop("offset", None)  # left over from an interval that stood under this id before
    return Planned(
        queue=queue,
        id=schedule_id,
        name=record.get("name", ""),
        data=_read(record.get("data"), {}),
        opts=optsFromJSON(_read(record.get("opts"), {})),
        repeat=repeat,
        next=score,
        made=int(float(record.get("ic") or 1)),
        pending=made_at is not None and taken_at is None,
        made_at=int(float(made_at or 0)),
    )


def _read(text: str | None, default: Any) -> Any:
    try:
        return default if text is None else json.loads(text)
    except ValueError:
        return default


def _plain(data: Any) -> Any:
    """As it is read back: without tuples, with text for keys."""
    try:
        return json.loads(json.dumps(data if data is not None else {}))
    except (TypeError, ValueError, RecursionError):
        return None
