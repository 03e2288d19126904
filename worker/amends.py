"""Tells in the journal how a job ended of which nobody told: see ``repair`` for what is owed."""

from dataclasses import dataclass, replace
from typing import Final

from jobcast.shared import logs
from jobcast.shared.errors import Refused
from jobcast.shared.journal.contract import Journal, Key, Reading
from jobcast.worker.dead_letters import Burial
from jobcast.worker.ended import End
from jobcast.worker.errors import CANCELLED
from jobcast.worker.family import Family
from jobcast.worker.kept import kept_for
from jobcast.worker.repair import SOMEBODY, is_newer, owed

MOST_OWED: Final = 4
"""Events of one repair, at most: its birth, its start and its end."""

_log = logs.get("amends")


@dataclass(slots=True)
class Repairs:
    """What was done since the process began: ends ``told`` for workers of ours and for ``strange`` ones, retries
    ``sent`` on, ends the journal ``refused``."""

    told: int = 0
    strange: int = 0
    sent: int = 0
    refused: int = 0


class Amends:
    """The same end told by two, or twice, is told once."""

    def __init__(self, journal: Journal, repairs: Repairs, burial: Burial | None, family: Family | None) -> None:
        self._journal = journal
        self._repairs = repairs
        self._burial = burial
        self._family = family

    async def make(  # noqa: PLR0913  a job's two records, and what neither says
        self,
        job_id: str,
        queue: str,
        reading: Reading,
        end: End,
        *,
        name: str = SOMEBODY,
        strange: bool = False,
    ) -> bool:
        """Write the letter of a job that failed for good, tell the end, and look after its parent.

        ``name``: of a job of which there is no record any more. False where the end was told before, or is refused.

        Raises:
            Unavailable: Redis is away.
        """
        if end.removed and (asked := reading.fields.get("cancel")) is not None:
            end = replace(end, text=CANCELLED + asked.decode())
        await self._bury(end)
        job = end.job
        if self._family is not None and job is not None and job.parent_id is not None and job.parent_queue is not None:
            # What a child did before its parent is known counts nowhere.
            await self._family.prepare(job.parent_queue, job.parent_id)
        events = owed(job_id, queue, reading, end, name)
        born = job.queued_at if job is not None and (not reading.fields or is_newer(reading, end)) else 0
        ttl = None if job is None else kept_for(job.keep(completed=end.completed))
        try:
            for number, event in enumerate(events):
                # The same from every worker that saw the same end, and for the same event, whether or not those before
                # it are owed still: a repair may be cut off between two.
                key = Key("reconciler", (end.at + 1) * MOST_OWED - len(events) + number)
                appended = await self._journal.append(event, key=key, born=born, ttl=ttl)
        except Refused as refused:
            self._repairs.refused += 1
            _log.warning("a job's end could not be made good", job_id=job_id, queue=queue, reason=str(refused))
            return False
        if appended.parent is not None and self._family is not None:
            self._family.changed(appended.parent)
            await self._family.child_ended(appended.parent, completed=end.completed)
        self._repairs.told += appended.fresh and not strange
        self._repairs.strange += appended.fresh and strange
        return appended.fresh

    async def _bury(self, end: End) -> None:
        job = end.job
        if self._burial is None or job is None or end.completed or end.text.startswith(CANCELLED):
            return
        await self._burial.bury(job, end.text, at=end.at, attempts=job.attempts_made)
