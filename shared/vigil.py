"""Watches over the workers: of one that died it tells which jobs are stalled.

Every worker and every gateway does, so that somebody does as long as anybody lives. No lock decides who: a stall told
by several has one key in the journal and is one event. Nothing is taken from a worker that is told dead; its locks run
out by themselves, and BullMQ's stalled check gives its jobs to the next.
"""

import asyncio
import random
from dataclasses import dataclass
from typing import Final

from jobcast.shared import logs
from jobcast.shared.clock import now_ms
from jobcast.shared.errors import Refused, Unavailable
from jobcast.shared.events import JobStalled
from jobcast.shared.heartbeats import Beat, Heartbeats, Look, read_beat
from jobcast.shared.journal.contract import Journal, Key
from jobcast.shared.silence import CALM, SILENT, Silence

LOOK_EVERY: Final = 1.0
"""Seconds, less up to a tenth by chance. The seventh look after the last heartbeat tells: 5 to 8 s after the death."""
PAGE: Final = 500
"""Live jobs of a queue read at once: about a millisecond of Redis' time."""

_log = logs.get("vigil")


@dataclass(frozen=True, slots=True)
class Timing:
    """``look`` in seconds; ``silent`` and ``calm`` in looks: see ``silence``. ``gap`` in seconds between two looks."""

    look: float = LOOK_EVERY
    silent: int = SILENT
    calm: int = CALM
    gap: float = 7.0


class Vigil:
    """:meth:`run` is a task."""

    def __init__(self, heartbeats: Heartbeats, journal: Journal, timing: Timing | None = None) -> None:
        self._timing = timing or Timing()
        self._heartbeats = heartbeats
        self._journal = journal
        self._silence = Silence(silent=self._timing.silent, calm=self._timing.calm, gap=round(self._timing.gap * 1000))
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self.last: Look | None = None
        """What was seen at the last look."""
        self.told = 0
        """Jobs this vigil told as stalled, others of the same death being as busy."""

    def calm_at(self) -> int | None:
        """Redis' time (Unix ms) of the last look, if it was calm: see :class:`Silence`."""
        return self.last.at if self.last is not None and self._silence.is_calm else None

    def stop(self) -> None:
        """End :meth:`run`, also where its cancellation is swallowed on its way."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()

    async def run(self) -> None:
        """Look again and again, until :meth:`stop`."""
        self._task = asyncio.current_task()
        away = False
        while not self._stopped:
            await asyncio.sleep(self._timing.look * random.uniform(0.9, 1.0))  # noqa: S311  spreads looks, guards nothing
            try:
                await self.look()
            except Unavailable as error:
                if not away:
                    _log.warning("the workers' heartbeats cannot be read; trying again", error=str(error))
                away = True
            except Exception as error:  # noqa: BLE001  a vigil that ends is a death nobody tells
                _log.exception("the workers could not be watched over; trying again", error=repr(error))
            else:
                away = False

    async def look(self) -> None:
        """One look; whoever was silent for long enough is told of, and then forgotten.

        Raises:
            Unavailable: Redis is away. A death that was being told is told at the next look.
        """
        self.last = seen = await self._heartbeats.look()
        for worker in self._silence.look(seen.at, seen.beats):
            await self._tell(worker, seen.beats[worker])

    async def _tell(self, worker: str, text: str) -> None:
        beat = read_beat(text) or Beat(0, 0, [])
        told = 0
        for queue in beat.queues:
            fresh = await self._tell_queue(worker, text, beat, queue)
            if fresh is None:
                break
            told += fresh
        self.told += told
        await self._heartbeats.forget(worker, text, told)
        if told:
            _log.warning("a worker is not heard of any more", worker=worker, last_seen=beat.at, stalled=told)

    async def _tell_queue(self, worker: str, text: str, beat: Beat, queue: str) -> int | None:
        """How many jobs were told; None when the worker was heard of meanwhile, or all was told by another."""
        told, cursor = 0, None
        while True:
            page = await self._journal.jobs(queue, PAGE, cursor, live=True)
            held = await self._heartbeats.held(worker, text, page.job_ids)
            if held is None:
                return None
            for job_id, attempt in held:
                told += await self._tell_job(worker, beat, queue, job_id, attempt)
            cursor = page.cursor
            if cursor is None:
                return told

    async def _tell_job(self, worker: str, beat: Beat, queue: str, job_id: str, attempt: int) -> bool:
        event = JobStalled(
            job_id=job_id,
            queue=queue,
            attempt=attempt,
            timestamp=now_ms(),
            last_seen=beat.at,
            reason=f"nothing is heard of its worker {worker} any more",
        )
        try:
            # Its count, and not its time, which may step back: an attempt may stall again after it was heard of.
            appended = await self._journal.append(event, key=Key("vigil", beat.count))
        except Refused as refused:
            _log.info("a job went on before it was told as stalled", job_id=job_id, reason=str(refused))
            return False
        return appended.fresh
