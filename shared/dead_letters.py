"""Jobs that failed for good, kept as jobs of a queue of their own until a person or a handler sees to them.

A letter is a job named as its original. Its id follows from the queue, the job and the attempt that failed last, so
that the same death told twice is one letter, for as long as BullMQ keeps it: until it is seen to, then a day.
"""

import hashlib
from typing import Any, Final

import msgspec

from jobcast.shared.clock import now_ms
from jobcast.shared.definitions import KEPT
from jobcast.shared.endings import cancelled
from jobcast.shared.errors import NotPossible, Refused, UnknownJob
from jobcast.shared.journal.contract import Journal, Writer
from jobcast.shared.names import check_job_id, check_queue_name
from jobcast.shared.queue import JobQueues
from jobcast.shared.redis import unavailable
from jobcast.shared.states import LIVE

DEAD_LETTER: Final = "dead-letter"
MOST_LISTED: Final = 1000
"""Letters read at once; each holds the data of its job."""
OPEN: Final = ("waiting", "prioritized", "delayed", "active", "failed")
"""States of a letter nobody has seen to; a handler that failed at it has not."""
_NOT_AGAIN: Final = frozenset(
    {"jobId", "delay", "timestamp", "deduplication", "parent", "repeat", "repeatJobKey", "prevMillis"}
)
"""Options of a job's first life: it has waited, its parent was told, its schedule has gone on."""


class Letter(msgspec.Struct, frozen=True, rename="camel"):
    """The data of a letter. ``attempts`` were used up; ``failed_at`` in Unix ms; ``opts`` in BullMQ's words."""

    queue: str
    name: str
    data: Any
    error: str
    failed_at: int
    attempts: int
    job_id: str
    opts: dict[str, Any]


class Listed(msgspec.Struct, frozen=True):
    """A letter with its ``id``, and the ``state`` of BullMQ it is in."""

    id: str
    state: str
    letter: Letter


class Replayed(msgspec.Struct, frozen=True, rename="camel"):
    """The ``state`` the original job is in now; ``completed`` when it had been tried again with success before."""

    job_id: str
    queue: str
    state: str


class ReplayedAll(msgspec.Struct, frozen=True):
    """``refused``: why not, by the id of the letter."""

    replayed: list[Replayed]
    refused: dict[str, str]


def letter_id(queue: str, job_id: str, attempt: int) -> str:
    """The id of the letter for the death of a job in this attempt (all its starts counted)."""
    # Hashed, for the three together may be longer than an id, and a colon in one could not stand in the other.
    return "dl_" + hashlib.sha256(f"{queue}\0{job_id}\0{attempt}".encode()).hexdigest()[:32]


class DeadLetters:
    """The letters of all queues. Every method raises ``Unavailable`` when Redis is away."""

    def __init__(self, queues: JobQueues, journal: Journal) -> None:
        self._queues = queues
        self._journal = journal
        self._writer = Writer()

    async def put(self, to: str, letter: Letter, attempt: int) -> bool:
        """Write a letter to the queue ``to``; False when it was there already."""
        born, wanted = now_ms(), letter_id(letter.queue, letter.job_id, attempt)
        options = {"jobId": wanted, **KEPT, "timestamp": born}
        with unavailable():
            handle = await self._queues.handle(to)
            there = await handle.getJob(wanted)
            job = there or await handle.add(letter.name, msgspec.to_builtins(letter), options)
        # Also of one that was there: who wrote it may have died before it could say so. Twice is once.
        await self._queues.announce(to, job)
        return there is None

    async def letters(self, queue: str = DEAD_LETTER, limit: int = 100) -> list[Listed]:
        """The newest letters, those that a handler has seen to (``completed``) included while they are kept."""
        return await self._read_all(queue, limit, (*OPEN, "completed"))

    async def _read_all(self, queue: str, limit: int, states: tuple[str, ...]) -> list[Listed]:
        check_queue_name(queue)
        last = min(limit, MOST_LISTED) - 1
        found: list[Listed] = []
        with unavailable():
            handle = await self._queues.handle(queue)
            for state in states:
                jobs = await handle.getJobs([state], 0, last)
                read = ((job, _read(job)) for job in jobs)
                found.extend(Listed(str(job.id), state, letter) for job, letter in read if letter is not None)
        found.sort(key=lambda each: each.letter.failed_at, reverse=True)
        return found[: last + 1]

    async def replay(self, letter: str, queue: str = DEAD_LETTER) -> Replayed:
        """Have the job run again, in its own queue and under its own id, then remove the letter.

        A job that BullMQ still has is tried once more, with the attempts it has used up; one that is gone is added anew
        with its old options. One that waits, runs or has completed meanwhile is left alone. Twice is once.

        Raises:
            UnknownJob: there is no such letter.
            NotPossible: a handler is at work on the letter, or it is none.
        """
        job, found = await self._find(letter, queue)
        state = await self._run_again(found)
        await self._take_away(job, queue, "replayed")
        return Replayed(found.job_id, found.queue, state)

    async def replay_all(self, queue: str = DEAD_LETTER, limit: int = 100) -> ReplayedAll:
        """The same with the newest letters that nobody has seen to, one after the other."""
        done = ReplayedAll([], {})
        for each in await self._read_all(queue, limit, OPEN):
            try:
                done.replayed.append(await self.replay(each.id, queue))
            except (NotPossible, UnknownJob) as error:
                done.refused[each.id] = str(error)
        return done

    async def remove(self, letter: str, queue: str = DEAD_LETTER) -> None:
        """Throw a letter away; its job stays as it is. Raises as :meth:`replay` does."""
        job, _ = await self._find(letter, queue)
        await self._take_away(job, queue, "removed")

    async def _find(self, letter: str, queue: str) -> tuple[Any, Letter]:
        check_queue_name(queue)
        with unavailable():
            job = await (await self._queues.handle(queue)).getJob(check_job_id(letter))
            state = None if job is None else await job.getState()
        if job is None:
            raise UnknownJob(f"no letter {letter} in queue {queue}")
        if state == "active":
            raise NotPossible(f"a handler is at work on letter {letter}; wait for it to end")
        if (found := _read(job)) is None:
            raise NotPossible(f"job {letter} of queue {queue} is no dead letter")
        return job, found

    async def _run_again(self, letter: Letter) -> str:
        with unavailable():
            handle = await self._queues.handle(letter.queue)
            job = await handle.getJob(letter.job_id)
            state = None if job is None else str(await job.getState())
        if job is None:
            return await self._add_anew(handle, letter)
        if state != "failed":
            return str(state)
        fields = (await self._journal.read(letter.job_id)).fields
        if fields and fields["queue"].decode() == letter.queue:
            await self._queues.retry(letter.job_id, begun=job.attemptsStarted)
        else:
            # The journal has forgotten it, or knows another queue's job by this id: the worker that takes it tells.
            with unavailable():
                await _retry(job)
        return "waiting"

    async def _add_anew(self, handle: Any, letter: Letter) -> str:
        options = {name: value for name, value in letter.opts.items() if name not in _NOT_AGAIN}
        with unavailable():
            await handle.add(letter.name, letter.data, {**options, "jobId": letter.job_id, "timestamp": now_ms()})
            job = await handle.getJob(letter.job_id)
        if job is not None:  # else a worker was quick, and it is not kept
            await self._queues.announce(letter.queue, job)
        return "waiting"

    async def _take_away(self, job: Any, queue: str, reason: str) -> None:
        with unavailable():
            if int(await job.queue.backend.remove(job.id, True)) != 1:
                raise NotPossible(f"a handler has begun with letter {job.id}; it stays until that ends")
        reading = await self._journal.read(job.id)
        fields = reading.fields
        if not fields or fields["queue"].decode() != queue or fields["state"].decode() not in LIVE:
            return
        event = cancelled(str(job.id), reading, reason)
        try:
            await self._journal.append(event, key=self._writer.key())
        except Refused:
            return  # its end was told meanwhile


async def _retry(job: Any) -> None:
    try:
        await job.retry("failed")
    except TypeError as error:  # BullMQ's own word for every refusal
        raise NotPossible(f"job {job.id} cannot be tried again: {error}") from error


def _read(job: Any) -> Letter | None:
    try:
        return msgspec.convert(job.data, Letter)
    except msgspec.ValidationError:
        return None
