"""Tells of jobs that workers of another kind ran, Node's say, in whichever queue: that they ended, or wait once more.

Such a worker tells BullMQ alone. Its stream of events says of every job of a queue what became of it; what our workers
ran is in the journal a moment later, and what is not after ``GRACE`` was a stranger's. A job is told of from its
announcement to its end, though only once it is over: who runs a job of whom nobody told that it begins is not known
until then.

One worker of all does this, under a lease. A job that the journal shows as running has a worker of ours, of which the
vigil and the reconciler tell.
"""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from jobcast.shared import logs
from jobcast.shared.endings import queued
from jobcast.shared.errors import BadJobId, Refused, Unavailable
from jobcast.shared.journal.contract import Journal, Reading
from jobcast.shared.names import check_job_id
from jobcast.shared.queue import JobQueues
from jobcast.shared.redis import unavailable
from jobcast.shared.snapshot import build
from jobcast.shared.states import QUEUED, RUNNING, TERMINAL
from jobcast.shared.supervise import supervise, wait_for_event
from jobcast.worker.amends import Amends
from jobcast.worker.ended import End, Ends
from jobcast.worker.queues import QueueDefinition
from jobcast.worker.repair import SOMEBODY, is_newer, queued_again, unfinished_retry
from jobcast.worker.streams import PAGES, Stream, Streams, before, milliseconds
from jobcast.worker.taker import reader

LOOK_EVERY: Final = 1.0
GRACE: Final = 1.0
"""Seconds in which a worker of ours, or a producer, tells what it has just done."""
AT_ONCE: Final = 500
"""Jobs of one queue that are seen to in one look; the stream waits for the others."""

_log = logs.get("strangers")


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds; see the constants."""

    every: float = LOOK_EVERY
    grace: float = GRACE


class Strangers:
    """``definitions``: how our own queues are worked."""

    def __init__(  # noqa: PLR0913, PLR0917  the parts of a worker that it stands between
        self,
        streams: Streams,
        journal: Journal,
        queues: JobQueues,
        definitions: Iterable[QueueDefinition],
        amends: Amends,
        timing: Timing | None = None,
    ) -> None:
        self._streams = streams
        self._journal = journal
        self._queues = queues
        self._definitions = {each.name: each for each in definitions}
        self._amends = amends
        self._timing = timing or Timing()
        self._open: dict[str, Stream] | None = None
        """The streams that are read; None while another worker reads them."""
        self._heard: dict[tuple[str, str, str], float] = {}
        """When an end was first heard of that the journal does not know: by queue, job and entry."""
        self._kept: dict[str, str] = {}

    async def keep(self, over: asyncio.Event) -> None:
        """Look again and again, until ``over``; then another worker may go on at once."""

        async def step() -> None:
            if not await wait_for_event(over, self._timing.every):
                await self.look()

        try:
            await supervise("strangers", step, over)
        finally:
            with contextlib.suppress(Unavailable):
                await self._streams.lease.release()

    async def look(self) -> None:
        """Read on, and tell what nobody has told for long enough.

        Raises:
            Unavailable: Redis is away; what was heard so far is told later.
        """
        if not await self._streams.lease.hold():
            self._open, self._heard = None, {}
            return
        streams = await self._opened()
        for _ in range(PAGES):
            if not await self._streams.read([each for each in streams if len(each.ended) < AT_ONCE]):
                break
        heard: dict[tuple[str, str, str], float] = {}
        for stream in streams:
            await self._queue_again(stream)
            await self._see_to(stream, heard)
        self._heard = heard
        await self._keep(streams)

    async def _opened(self) -> list[Stream]:
        """The streams of our own queues, of those the journal knows, and of those that children of its jobs are in."""
        if self._open is None:
            self._kept, self._open = {}, {}
        places = await self._streams.places()
        if new := {*self._definitions, *places, *await self._journal.queues()} - self._open.keys():
            start = await self._streams.start()
            self._open |= {name: Stream(name, places.get(name, start)) for name in new}
        return list(self._open.values())

    async def _keep(self, streams: list[Stream]) -> None:
        places = {}
        for each in streams:
            waits = [entry_id for entry_id, _ in each.ended.values()]
            places[each.queue] = before(min(waits, key=_order)) if waits else each.place
        await self._streams.keep({queue: at for queue, at in places.items() if self._kept.get(queue) != at})
        self._kept = places

    async def _queue_again(self, stream: Stream) -> None:
        """Tell that jobs wait again that were over: by Bull Board's button, say."""
        job_ids = list(itertools.islice(stream.again, AT_ONCE))
        for job_id, reading in zip(job_ids, await self._journal.read_many(job_ids), strict=True):
            is_over = reading.fields.get("state", b"").decode() in TERMINAL
            with self._apart(stream, job_id):
                if is_over and not await self._tell_again(stream, job_id, reading):
                    continue
            stream.again.pop(job_id)
            stream.missed.discard(job_id)

    async def _tell_again(self, stream: Stream, job_id: str, reading: Reading) -> bool:
        """False while it may still be heard how a job ended that is gone: of one that was drained it never is."""
        with unavailable():
            handle = await self._queues.handle(stream.queue)
            job = await handle.getJob(job_id)
        at, born = milliseconds(stream.again[job_id]), 0
        if job is not None:
            attempt, born = int(job.attemptsStarted) + (0 if job.processedOn else 1), int(job.timestamp)
            event = queued(stream.queue, job, attempt=attempt, timestamp=at)
        elif job_id in stream.ended:
            event = queued_again(job_id, stream.queue, reading, at)
        else:
            # What took it away was said before it was missed, and is heard by the next look.
            is_first = job_id not in stream.missed
            stream.missed.add(job_id)
            return not is_first
        # Refused where a worker of ours was quicker, or the id is that of another queue's job.
        with contextlib.suppress(Refused):
            await self._journal.append(event, born=born)
        return True

    @staticmethod
    @contextlib.contextmanager
    def _apart(stream: Stream, job_id: str) -> Iterator[None]:
        """One job that was spoilt by hand must not keep the others waiting."""
        try:
            yield
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001  whatever somebody wrote into its record
            _log.exception("a job cannot be told of", job_id=job_id, queue=stream.queue, error=repr(error))

    async def _see_to(self, stream: Stream, heard: dict[tuple[str, str, str], float]) -> None:
        untold = set(await self._streams.untold(stream))
        now, ripe = time.monotonic(), []
        for job_id, (entry_id, _) in list(stream.ended.items()):
            if job_id in stream.again:
                continue  # it ended once more: first is told that it waited for that
            mark = (stream.queue, job_id, entry_id)
            since = self._heard.get(mark, now)
            if job_id not in untold:
                del stream.ended[job_id]
                stream.names.pop(job_id, None)
            elif now - since >= self._timing.grace:
                ripe.append(job_id)
            else:
                heard[mark] = since
        for job_id, reading in zip(ripe, await self._journal.read_many(ripe), strict=True):
            with self._apart(stream, job_id):
                await self._tell(stream, job_id, reading)
            del stream.ended[job_id]

    async def _tell(self, stream: Stream, job_id: str, reading: Reading) -> None:
        try:
            check_job_id(job_id)
        except BadJobId as error:
            _log.warning("a job of another worker is not told for its id", queue=stream.queue, error=str(error))
            return
        end = await self._end(stream, job_id)
        if end is not None and self._is_owed(stream.queue, reading, end):
            name = stream.names.pop(job_id, SOMEBODY)
            await self._amends.make(job_id, stream.queue, reading, end, name=name, strange=True)

    async def _end(self, stream: Stream, job_id: str) -> End | None:
        """By BullMQ's record; by the stream alone where that is gone, and None where the job is not over any more."""
        _, said = stream.ended[job_id]
        with unavailable():
            handle = await self._queues.handle(stream.queue)
        definition = self._definitions.get(stream.queue) or QueueDefinition(stream.queue)
        ends = Ends(handle.backend, reader(handle, definition))
        recorded = await ends.recorded(job_id)
        if recorded is None and (await ends.standings([job_id])).get(job_id) == "gone":
            return said
        return recorded

    @staticmethod
    def _is_owed(queue: str, reading: Reading, end: End) -> bool:
        fields = reading.fields
        if not fields or is_newer(reading, end):
            return not end.removed  # of whom nobody has heard nobody waits for news
        state, over = fields["state"].decode(), int(fields.get("over", b"0"))
        made = end.job.attempt if end.job is not None else 0
        if fields["queue"].decode() != queue or unfinished_retry(reading, end):
            return False
        if state in RUNNING:
            # One that was begun for a stranger, and cut off before its end, has no worker of ours who would tell it.
            return made > int(fields["attempt"]) or build("", reading).worker == SOMEBODY
        return state in QUEUED or made > over


def _order(entry_id: str) -> tuple[int, int]:
    at, _, number = entry_id.partition("-")
    return int(at), int(number)
