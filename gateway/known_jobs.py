"""How far one client was told of each job of a queue it watches. Values in, values out; no I/O."""

from collections.abc import Callable, Iterator
from typing import Final

from jobcast.shared.position import Position

MOST_KNOWN: Final = 1000


class KnownJobs:
    """The jobs that are not over. Beyond ``MOST_KNOWN`` the one met first is forgotten.

    ``forgetful``: the client may know jobs that are not known here; nobody can say of a job that it must be introduced.
    ``told`` may be written to where a job that is known goes on and nothing lingers.
    """

    __slots__ = ("_over", "_over_before", "forgetful", "get", "lingering", "told")

    def __init__(self, *, forgetful: bool) -> None:
        self.forgetful = forgetful
        self.told: dict[str, Position] = {}
        self.get: Callable[[str], Position | None] = self.told.get
        """How far the client was told of a job; None: it knows nothing of it."""
        # A job that ended in what was read stays known until the feed can bring nothing of it any more.
        self._over: set[str] = set()
        self._over_before: set[str] = set()
        self.lingering = False
        """There is such a job."""

    def __bool__(self) -> bool:
        return bool(self.told)

    def __iter__(self) -> Iterator[str]:
        return iter(self.told)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self.told

    def set(self, job_id: str, position: Position | None) -> None:
        """The client was told of it up to there; None: it knows nothing."""
        if position is None:
            self.told.pop(job_id, None)
            return
        told = self.told
        told[job_id] = position
        if len(told) > MOST_KNOWN:
            self.forgetful = True
            forgotten = next(iter(told))
            del told[forgotten]
            self._over.discard(forgotten)
            self._over_before.discard(forgotten)

    def heard(self, job_id: str, position: Position, *, ends: bool) -> None:
        """The feed brought it, and nothing before it will come any more."""
        if self._over or self._over_before:
            self._over.discard(job_id)
            self._over_before.discard(job_id)
        self.set(job_id, None if ends else position)

    def read(self, job_id: str, position: Position, *, ends: bool) -> None:
        """It was read: the feed may still bring what stands before it."""
        self.set(job_id, position)
        self._over_before.discard(job_id)
        if ends:
            self._over.add(job_id)
            self.lingering = True
        else:
            self._over.discard(job_id)

    def all_came(self) -> None:
        """All that was recorded before some moment later than the last call has come: what was over then is let go."""
        for job_id in self._over_before:
            self.set(job_id, None)
        self._over_before, self._over = self._over, set()
        self.lingering = bool(self._over_before)
