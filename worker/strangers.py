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
from jobcast.worker.streams import PAGES, Stream, Streams, milliseconds
from jobcast.worker.taker import reader

LOOK_EVERY: Final = 1.0
BRIEFLY: Final = 0.05
"""The same after a look that left something over."""
GRACE: Final = 1.0
"""Seconds in which a worker of ours, or a producer, tells what it has just done."""
AT_ONCE: Final = 500
"""Jobs of one queue that are looked up at once."""
BESIDE: Final = 25
"""Jobs that are told of side by side: one after the other they would wait for Redis most of the time."""
LONGEST: Final = 1.0
"""Seconds that are given to what was heard before the streams are read on."""
MOST_HEARD: Final = 100_000
MOST_BYTES: Final = 64 * 1024 * 1024
"""Jobs that ended and were not seen to yet, and their results and reasons, of all queues. BullMQ's stream forgets a
burst sooner than we can tell of it; what is more waits there: then a queue with ``AT_ONCE`` is not read on."""

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
        self._kept: dict[str, str] = {}
        self._behind = False
        """Whether there was more to be read or told than one look was given time for."""

    async def keep(self, over: asyncio.Event) -> None:
        """Look again and again, until ``over``; then another worker may go on at once."""

        async def step() -> None:
            if not await wait_for_event(over, BRIEFLY if self._behind else self._timing.every):
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
            self._open, self._behind = None, False
            return
        streams = await self._opened()
        more = await self._read(streams)
        self._behind, over = bool(more), time.monotonic() + LONGEST
        for stream in streams:
            await self._queue_again(stream)
            if await self._work_off(stream, over) and not await self._streams.lease.hold():
                self._open, self._behind = None, False
                return
        await self._keep(streams)

    async def _read(self, streams: list[Stream]) -> list[Stream]:
        """Those that have more, as far as there is room for it."""
        more = streams
        for _ in range(PAGES):
            heard, size = sum(len(each.ended) for each in streams), sum(each.size for each in streams)
            most = MOST_HEARD if heard < MOST_HEARD and size < MOST_BYTES else AT_ONCE
            ready = [each for each in more if len(each.ended) < most and len(each.again) < AT_ONCE]
            if not ready:
                break
            more = await self._streams.read(ready)
        return more

    async def _opened(self) -> list[Stream]:
        """The streams of our own queues, of those the journal knows, and of those that children of its jobs are in."""
        if self._open is None:
            self._kept, self._open = {}, {}
        places = await self._streams.places()
        wanted = {*self._definitions, *places, *await self._journal.queues()}
        for forgotten in self._open.keys() - wanted:
            del self._open[forgotten]
        if new := wanted - self._open.keys():
            start = await self._streams.start()
            self._open |= {name: Stream(name, places.get(name, start)) for name in new}
        return list(self._open.values())

    async def _keep(self, streams: list[Stream]) -> None:
        places = {each.queue: each.settled for each in streams}
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

    async def _work_off(self, stream: Stream, over: float) -> bool:
        """See to the jobs that ended, in the order of the stream, for as long as something comes of it; whether it did.

        Not longer than until ``over``, for the streams are to be read on.
        """
        job_ids, did = list(stream.ended), False
        for start in range(0, len(job_ids), AT_ONCE):
            if start and time.monotonic() > over:
                self._behind = True
                break
            if not await self._see_to(stream, job_ids[start : start + AT_ONCE]):
                break
            did = True
        return did

    async def _see_to(self, stream: Stream, job_ids: list[str]) -> bool:
        # Of one that ended once more it is first to be told that it waited for that.
        job_ids = [job_id for job_id in job_ids if job_id not in stream.again]
        untold = await self._streams.untold(stream.queue, job_ids)
        for job_id in job_ids:
            if job_id not in untold:
                stream.forget(job_id)
        now = time.monotonic()
        ripe = [each for each in job_ids if each in untold and now - stream.ended[each].since >= self._timing.grace]
        for start in range(0, len(ripe), BESIDE):
            part = ripe[start : start + BESIDE]
            readings = await self._journal.read_many(part)
            told = [self._tell(stream, job_id, reading) for job_id, reading in zip(part, readings, strict=True)]
            for failure in await asyncio.gather(*told, return_exceptions=True):
                if failure is not None:
                    raise failure
        return bool(ripe) or len(untold) < len(job_ids)

    async def _tell(self, stream: Stream, job_id: str, reading: Reading) -> None:
        with self._apart(stream, job_id):
            await self._make_known(stream, job_id, reading)
        stream.forget(job_id)

    async def _make_known(self, stream: Stream, job_id: str, reading: Reading) -> None:
        try:
            check_job_id(job_id)
        except BadJobId as error:
            _log.warning("a job of another worker is not told for its id", queue=stream.queue, error=str(error))
            return
        end = await self._end(stream, job_id)
        if end is not None and self._is_owed(stream.queue, reading, end):
            name = stream.ended[job_id].name
            await self._amends.make(job_id, stream.queue, reading, end, name=name, strange=True)

    async def _end(self, stream: Stream, job_id: str) -> End | None:
        """By BullMQ's record; by the stream alone where that is gone, and None where the job is not over any more."""
        said = stream.ended[job_id].end
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
