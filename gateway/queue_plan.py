"""What is still to be read of a queue for one client. Values in, values out; no I/O."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from jobcast.gateway.known_jobs import KnownJobs
from jobcast.gateway.wire import Message
from jobcast.shared.journal.contract import Ask
from jobcast.shared.position import Position

MOST_CHANGES: Final = 1000
"""Jobs that are caught up with after a loss; where more have changed, the queue is introduced anew."""
MOST_STANDING: Final = 3
"""Readings in a row in which more happens than is held, and the place stands still. At the next it moves all the same:
who is cut off then may be told a little again; else it would be all since a place that is ever longer ago.
"""


@dataclass(frozen=True, slots=True)
class Told:
    """What a reading made of a job: ``introduction`` is sent whole or not at all, ``events`` may be cut short."""

    introduction: list[Message] = field(default_factory=list)
    events: list[Message] = field(default_factory=list)


class Plan:
    """Read one after the other; what is owed while another plan is carried out stands first in the next."""

    __slots__ = ("_after", "_job_ids", "_owed", "begun")

    def __init__(self) -> None:
        self._owed: dict[str, None] = {}
        self._job_ids: deque[str] | None = None
        self._after: Position | None = None
        self.begun = False
        """Something of it has been read."""

    @property
    def open(self) -> bool:
        """What is to be read is known."""
        return self._job_ids is not None

    def owe(self, job_id: str) -> None:
        """This job must be read, whether it changed or not."""
        self._owed[job_id] = None

    @property
    def owing(self) -> bool:
        return bool(self._owed)

    def owes(self, job_id: str) -> bool:
        return job_id in self._owed

    def begin(self, job_ids: Iterable[str], after: Position | None) -> None:
        """These, each from where the client was told of it, or from ``after`` in the queue."""
        self._job_ids = deque(dict.fromkeys([*self._owed, *job_ids]))
        self._after = after
        self.begun = False

    def next(self, most: int, known: KnownJobs) -> list[Ask]:
        return [self._ask(job_id, known.get(job_id)) for job_id in islice(self._job_ids or (), most)]

    def _ask(self, job_id: str, known: Position | None) -> Ask:
        return Ask(job_id, known, None if known is not None or job_id in self._owed else self._after)

    def done(self) -> None:
        """All of the first job has been read and sent."""
        self.begun = True
        if self._job_ids:
            self._owed.pop(self._job_ids.popleft(), None)

    def end(self) -> None:
        self._job_ids = None
