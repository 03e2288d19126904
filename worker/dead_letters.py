"""What a worker does with a job that failed for good: a letter, where its queue asks for one.

The letter stands between the two records of the job's end: after BullMQ's, for an attempt that BullMQ may still refuse
to end is no death; before the journal's, for what the journal was not told is told by the reconciler, letter and all.
A worker that dies anywhere in between so leaves no job without its letter, and the letter's id lets none have two.
"""

from jobcast.shared import logs
from jobcast.shared.dead_letters import DeadLetters, Letter
from jobcast.shared.errors import Unavailable
from jobcast.worker.supervise import surely
from jobcast.worker.taken import TakenJob

_log = logs.get("dead-letters")


class Burial:
    """Writes the letters of a worker's queues."""

    def __init__(self, letters: DeadLetters) -> None:
        self._letters = letters

    async def bury(self, job: TakenJob, error: str, *, at: int, attempts: int) -> None:
        """Write the letter, if the job's queue has its dead written to one; twice is once.

        Raises:
            Unavailable: Redis stayed away; the reconciler will try again.
        """
        to = job.definition.dead_letter
        if to is None:
            return
        letter = Letter(job.queue, job.name, job.data, error, at, attempts, job.id, job.opts)
        try:
            await surely(lambda: self._letters.put(to, letter, job.attempt))
        except Unavailable:
            raise
        except Exception as broken:  # noqa: BLE001  the job's end must be told all the same
            _log.exception("a dead letter cannot be written", job_id=job.id, queue=job.queue, error=repr(broken))
