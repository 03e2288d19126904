"""Holds what one client was told of a whole queue to the promise, job by job. Values in, values out; no I/O.

The client reads as README.md says: the last place in the queue is what it resumes from; what a catching-up that was cut
off had told may be told again after it; ``queue-reset``, or beginning without a place, means to forget every job.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from jobcast.shared.position import Position
from tests.soak.checker import HISTORY, Check, Opened, Snapped, Told, Truth


class Asked(NamedTuple):
    """The client asked for what follows the place ``since``; without one, it was first told something at ``time``."""

    since: Position | None
    time: float


class Forgot(NamedTuple):
    """``queue-reset`` came at ``time``."""

    time: float


class At(NamedTuple):
    """``queue-position`` came."""

    place: Position


class Of(NamedTuple):
    """Something was told of a job; ``place`` is the queue position it came with."""

    job_id: str
    entry: Told | Snapped
    place: Position | None = None


QueueEntry = Asked | Forgot | At | Of


def queue_violations(
    log: Iterable[QueueEntry],
    truths: Mapping[str, Truth],
    ended: Mapping[str, float],
    *,
    history: int = HISTORY,
) -> list[str]:
    """What in this log is against the promise; ``truths`` are the queue's jobs.

    ``ended`` is when each job's end was first offered to the journal: who began before that must be told of the job.
    """
    check = _QueueCheck(truths, history)
    found = [sentence for entry in log for sentence in check.take(entry)]
    return found + list(check.end(ended))


class _QueueCheck:
    def __init__(self, truths: Mapping[str, Truth], history: int) -> None:
        self._truths = truths
        self._checks = {job_id: Check(truth, history) for job_id, truth in truths.items()}
        self._met: set[str] = set()
        """Jobs told of since the view began."""
        self._began = 0.0
        self._place: Position | None = None
        self._places: set[Position] = set()
        self._forgotten: Position | None = None
        """The place before the last reset, until the next is told."""
        self._since_place: set[tuple[str, Position | None]] = set()
        """Told since the place moved last: by a catching-up, say, which may be cut off."""
        self._repeatable: set[tuple[str, Position | None]] = set()
        self._cut = False
        """It was cut off, and is told from its beginning."""

    def take(self, entry: QueueEntry) -> Iterator[str]:
        match entry:
            case Asked():
                yield from self._ask(entry)
            case Forgot():
                self._forgotten = self._place or self._forgotten
                self._begin_anew(entry.time)
            case At():
                yield from self._move(entry.place)
                self._repeatable.clear()
                self._cut = False
            case Of():
                yield from self._of(entry)

    def _ask(self, entry: Asked) -> Iterator[str]:
        if entry.since is None:
            self._begin_anew(entry.time)
            return
        if entry.since not in self._places:
            yield f"resumed after the place {entry.since}, which it was not told"
        self._place = entry.since
        self._repeatable |= self._since_place
        self._cut = self._cut or bool(self._repeatable)

    def _begin_anew(self, time: float) -> None:
        self._began, self._place = time, None
        self._met.clear()
        self._since_place.clear()
        self._repeatable.clear()
        self._cut = False
        for check in self._checks.values():
            list(check.take(Opened(None)))

    def _move(self, place: Position) -> Iterator[str]:
        before, self._place = self._place, place
        self._places.add(place)
        if before == place:
            return
        self._since_place.clear()
        if before is not None and before.epoch != place.epoch:
            yield f"the queue's place went from {before} to another life {place} without a reset"
        elif before is not None and place.seq < before.seq:
            yield f"the queue's place went back from {before} to {place}"
        forgotten, self._forgotten = self._forgotten, None
        if forgotten is not None and forgotten.epoch == place.epoch:
            yield f"the queue was reset at {forgotten}, but its record stands at {place}"

    def _of(self, entry: Of) -> Iterator[str]:
        check = self._checks.get(entry.job_id)
        if check is None:
            yield f"was told of {entry.job_id}, which is no job of the queue"
            return
        moved = entry.place is not None and entry.place != self._place
        if entry.place is not None:
            yield from self._move(entry.place)
        for sentence in self._job(check, entry):
            yield f"{entry.job_id}: {sentence}"
        self._met.add(entry.job_id)
        if not moved:
            self._since_place.update((entry.job_id, at) for at in _covered(entry.entry))

    def _job(self, check: Check, entry: Of) -> Iterator[str]:
        told, at = entry.entry, entry.entry.position
        again = (entry.job_id, at) in self._repeatable
        if isinstance(told, Snapped):
            if any(job_id == entry.job_id for job_id, _ in self._repeatable):
                check.meet()
            yield from check.take(told)
            return
        if again:
            self._repeatable.discard((entry.job_id, at))
            return
        if entry.job_id not in self._met:
            check.meet()
        if self._cut and at is not None:
            # What was told before the cut is skipped once more.
            last = check.told.seq if check.told is not None and check.told.epoch == at.epoch else 0
            told = told._replace(skipped=max(0, min(told.skipped, at.seq - 1 - last)))
        yield from check.take(told)

    def end(self, ended: Mapping[str, float]) -> Iterator[str]:
        for job_id, truth in self._truths.items():
            check, final = self._checks[job_id], truth.final
            if job_id not in self._met:
                if final is not None and ended.get(job_id, self._began) > self._began:
                    yield f"{job_id}: was never told of, though it ended at {final} while it watched"
            elif final is not None or not truth.is_over(check.told):
                # Nobody is told that the record of a job which is over is gone.
                if check.told != final:
                    yield f"{job_id}: was told up to {check.told}, but the record ends at {final}"
                for sentence in check.end():
                    yield f"{job_id}: {sentence}"


def _covered(told: Told | Snapped) -> Iterator[Position | None]:
    """What was told by this, and what it says it stands for: one by one, perhaps, the next time."""
    at = told.position
    yield at
    if at is not None and isinstance(told, Told):
        yield from (at._replace(seq=seq) for seq in range(at.seq - told.skipped, at.seq))
