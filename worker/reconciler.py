"""Compares BullMQ with the journal and makes good what a worker that died could not tell: see ``runner``.

BullMQ is the truth of whether a job is over. A job that is over there and not in the journal is told of as over, by
BullMQ's own words; one that is gone there, by the last that BullMQ's stream says of it, as cancelled where it was
removed while it waited, else as failed, for nobody will ever run it. Nothing is done at first sight: what disagrees
must stand unchanged for a while, since every end is on its way for a moment.

Every worker looks after its own queues, without a lock: one repair told by two has one idempotency key and is one
event, and a lock would only add its holder's death to what must be waited out. A look costs Redis three short
commands for a job that is not over.

Left alone are jobs reported by a program of its own (``Reporter``), which BullMQ never had. What workers of another
kind ran is told by ``strangers``, and mostly before it is seen here.
"""

import random
import time
from dataclasses import dataclass
from typing import Final

import msgspec

from jobcast.shared import logs
from jobcast.shared.errors import Unavailable
from jobcast.shared.journal.contract import Journal, Reading
from jobcast.shared.position import Position
from jobcast.shared.snapshot import build
from jobcast.shared.states import LIVE
from jobcast.worker.amends import Amends, Repairs
from jobcast.worker.dead_letters import Burial
from jobcast.worker.ended import End, Ends, Standing
from jobcast.worker.errors import CANCELLED
from jobcast.worker.family import Family
from jobcast.worker.outside import PROGRAM
from jobcast.worker.repair import LOST, unfinished_retry
from jobcast.worker.supervise import PATIENCE

LOOK_EVERY: Final = 7.0
"""Seconds, less up to a fifth by chance. The second look repairs: within 15 s of the death both records agree."""
GRACE: Final = 5.0
"""Seconds for which the two must disagree, unchanged. A worker that lives offers its event again every 2 s at most."""
GONE_AFTER: Final = PATIENCE + 15.0
"""The same for a job that is gone, whose end only its worker may know: it tries for ``PATIENCE``."""
PAGE: Final = 200
_log = logs.get("reconciler")


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds; see the constants."""

    every: float = LOOK_EVERY
    grace: float = GRACE
    gone_after: float = GONE_AFTER

    def next(self) -> float:
        return self.every * random.uniform(0.8, 1.0)  # noqa: S311  spreads workers, guards nothing


@dataclass(frozen=True, slots=True)
class _Suspect:
    """A job whose two records disagree; ``since`` in seconds of the monotonic clock."""

    job_id: str
    reading: Reading
    standing: Standing
    since: float

    @property
    def mark(self) -> tuple[Position | None, Standing]:
        return self.reading.position, self.standing


class Reconciler:
    """Looks after one queue. Holds the jobs that disagree: no more than the journal lists as live (10,000)."""

    def __init__(  # noqa: PLR0913, PLR0917  the parts of a worker that it stands between
        self,
        journal: Journal,
        queue: str,
        ends: Ends,
        repairs: Repairs,
        timing: Timing,
        burial: Burial | None = None,
    ) -> None:
        self._journal = journal
        self._queue = queue
        self._ends = ends
        self._repairs = repairs
        self._timing = timing
        self._burial = burial
        self.family: Family | None = None
        """Whom the ends of children are told to, and who looks after the queue's parents."""
        self._suspects: dict[str, _Suspect] = {}

    async def look(self) -> None:
        """Compare every job that is live in the journal, and repair what has disagreed for long enough.

        Raises:
            Unavailable: Redis is away; what was seen so far is seen again.
        """
        seen: dict[str, _Suspect] = {}
        cursor: str | None = None
        while True:
            page = await self._journal.jobs(self._queue, PAGE, cursor, live=True)
            suspects = await self._compare(page.job_ids)
            ripe = [each for each in suspects if time.monotonic() - each.since >= self._timing.grace]
            repaired = await self._repair(ripe) if ripe else set()
            seen.update((each.job_id, each) for each in suspects if each.job_id not in repaired)
            cursor = page.cursor
            if cursor is None:
                break
        self._suspects = seen
        if self.family is not None:
            await self.family.look(self._queue)

    async def _compare(self, job_ids: list[str]) -> list[_Suspect]:
        standings = await self._ends.standings(job_ids)
        readings = await self._journal.read_many(standings)
        suspects = []
        for (job_id, standing), reading in zip(standings.items(), readings, strict=True):
            if self._is_ours(reading):
                new = _Suspect(job_id, reading, standing, time.monotonic())
                old = self._suspects.get(job_id)
                suspects.append(old if old is not None and old.mark == new.mark else new)
        return suspects

    def _is_ours(self, reading: Reading) -> bool:
        if reading.position is None or reading.fields["queue"].decode() != self._queue:
            return False
        if reading.fields["state"].decode() not in LIVE:
            return False
        try:
            worker = build("", reading).worker
        except msgspec.DecodeError as error:
            _log.warning("a record cannot be read", queue=self._queue, error=str(error))
            return False
        return worker is None or not worker.startswith(PROGRAM)

    async def _repair(self, suspects: list[_Suspect]) -> set[str]:
        """Those that were seen to, for better or worse: what was refused is looked at afresh."""
        told = await self._ends.told([each.job_id for each in suspects if each.standing == "gone"])
        done = set()
        for each in suspects:
            try:
                if await self._make_good(each, told.get(each.job_id)):
                    done.add(each.job_id)
            except Unavailable:
                raise
            except Exception as error:  # noqa: BLE001  one job that was spoilt by hand must not keep the others waiting
                done.add(each.job_id)
                _log.exception("a job cannot be made good", job_id=each.job_id, queue=self._queue, error=repr(error))
        return done

    async def _make_good(self, suspect: _Suspect, told: End | None) -> bool:
        """False when it is not known yet how it ended."""
        end = told or await self._end(suspect)
        if end is None:
            return False
        if unfinished_retry(suspect.reading, end):
            await self._send_on(suspect, end)
        else:
            await self._tell(suspect, end)
        return True

    async def _end(self, suspect: _Suspect) -> End | None:
        if suspect.standing != "gone":
            return await self._ends.recorded(suspect.job_id)
        if time.monotonic() - suspect.since < self._timing.gone_after:
            return None
        asked = suspect.reading.fields.get("cancel")
        return End(False, LOST if asked is None else CANCELLED + asked.decode(), round(time.time() * 1000))

    async def _tell(self, suspect: _Suspect, end: End) -> None:
        amends = Amends(self._journal, self._repairs, self._burial, self.family)
        if await amends.make(suspect.job_id, self._queue, suspect.reading, end):
            state = "completed" if end.completed else "cancelled" if end.text.startswith(CANCELLED) else "failed"
            _log.warning(
                "a job's end was made good",
                job_id=suspect.job_id,
                queue=self._queue,
                state=state,
                was=suspect.standing,
            )

    async def _send_on(self, suspect: _Suspect, end: End) -> None:
        if end.job is not None and await end.job.try_again(completed=end.completed):
            self._repairs.sent += 1
            _log.warning("a job that was to be tried again was sent on", job_id=suspect.job_id, queue=self._queue)
