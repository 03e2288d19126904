"""Cancelling a job, and with a parent its children that are not over."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple

from jobcast.shared.endings import cancelled
from jobcast.shared.errors import JobcastError, NotPossible, Refused, Unavailable
from jobcast.shared.journal.contract import Journal, Reading, Writer
from jobcast.shared.parents import Parents
from jobcast.shared.redis import unavailable
from jobcast.shared.states import QUEUED, TERMINAL

AT_ONCE: Final = 50
"""Children that are cancelled side by side."""


class Cancelled(NamedTuple):
    """What came of a request: ``cancelled``, or ``cancelling`` where a worker has it; and how many children go too."""

    state: str
    children: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As the doors tell it: ``{state, children?}``."""
        return {"state": self.state, **({"children": self.children} if self.children else {})}


class Canceller:
    """``handle`` gives BullMQ's queue object of a queue."""

    def __init__(
        self, journal: Journal, parents: Parents, handle: Callable[[str], Awaitable[Any]], prefix: str
    ) -> None:
        self._journal = journal
        self._parents = parents
        self._handle = handle
        self._prefix = prefix
        self._writer = Writer()

    async def cancel(self, job_id: str, reading: Reading, reason: str) -> Cancelled:
        """See :meth:`JobQueues.cancel_family`; ``reading`` is the job's record.

        Everybody is asked to stop first, whoever takes one of them meanwhile stops it; then the parent is taken out of
        its queue, and its children after it: the other way round the last of them would send it to a worker.
        """
        state, queue = reading.fields["state"].decode(), reading.fields["queue"].decode()
        if state in TERMINAL:
            raise NotPossible(f"job {job_id} is already {state}; only a job that is not over can be cancelled")
        below = await self._below(queue, job_id) if state == "waiting-children" else []
        if not await self._journal.request_cancel(job_id, reason):
            raise NotPossible(f"job {job_id} is over by now; only a job that is not over can be cancelled")
        why = f"its parent {job_id} was cancelled: {reason}"
        asked = await self._each(below, lambda _, child: self._journal.request_cancel(child, why))
        taken_out = await self._take_out(job_id, reading, reason)
        await self._each(below, lambda at, child: self._cancel_child(at, child, why))
        return Cancelled("cancelled" if taken_out else "cancelling", sum(asked))

    async def _below(self, queue: str, job_id: str) -> list[tuple[str, str]]:
        """The children that are not over, and theirs, by queue and id: parents before their children."""
        found: list[str] = []
        with unavailable():
            client = (await self._handle(queue)).client
            keys = [f"{self._prefix}:{queue}:{job_id}"]
            while keys:
                async with client.pipeline(transaction=False) as pipe:
                    for key in keys:
                        pipe.smembers(f"{key}:dependencies")
                    keys = sorted({key for part in await pipe.execute() for key in part} - set(found))
                found += keys
        # A queue's name holds no colon, and no more does the id of a job that was added to a flow.
        return [(parent.rpartition(":")[2], child) for parent, _, child in (key.rpartition(":") for key in found)]

    async def _each(self, jobs: Sequence[tuple[str, str]], call: Callable[[str, str], Awaitable[bool]]) -> list[bool]:
        done: list[bool] = []
        for start in range(0, len(jobs), AT_ONCE):
            done += await asyncio.gather(*(call(*job) for job in jobs[start : start + AT_ONCE]))
        return done

    async def _cancel_child(self, queue: str, job_id: str, reason: str) -> bool:
        try:
            reading = await self._journal.read(job_id)
            if reading.position is None:  # nobody was told of it, and nobody will be
                return await self.remove_waiting(queue, job_id)
            return await self._take_out(job_id, reading, reason)
        except Unavailable:
            raise
        except JobcastError:
            return False

    async def _take_out(self, job_id: str, reading: Reading, reason: str) -> bool:
        """Take a job that waits out of its queue and say so; False when a worker has it."""
        state, queue = reading.fields["state"].decode(), reading.fields["queue"].decode()
        if state not in QUEUED or not await self.remove_waiting(queue, job_id):
            return False
        event = cancelled(job_id, reading, reason)
        try:
            appended = await self._journal.append(event, key=self._writer.key())
        except Refused:
            return True  # the worker was quicker: what we had to say is already history
        if appended.parent is not None:
            await self._parents.child_ended(appended.parent, completed=False)
        return True

    async def remove_waiting(self, queue: str, job_id: str) -> bool:
        """Take the job out of BullMQ; False when a worker already has it, or when it was never there.

        BullMQ answers "removed" for a job it never had, such as one that only a reporter outside it knows. Its children
        stay: removed with it they would be gone without a word, and not at all while one of them is at work.
        """
        with unavailable():
            handle = await self._handle(queue)
            if not await handle.client.exists(handle.toKey(job_id)):
                return False
            return int(await handle.backend.remove(job_id, False)) == 1
