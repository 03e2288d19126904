"""A parent, seen from its children: announced where nobody did, its progress told while it waits, and then moved on.

BullMQ moves a parent in the step that ends its last child, or a child that is to fail it, and says so to nobody:
whoever recorded the child's end looks after the parent.
"""

from dataclasses import dataclass
from typing import Any, Final

import msgspec
from redis.asyncio import Redis

from jobcast.shared import rollup
from jobcast.shared.clock import now_ms
from jobcast.shared.errors import BadQueueName, Refused
from jobcast.shared.events import Children, JobQueued
from jobcast.shared.journal.contract import DAY_MS, Journal, Key, Reading
from jobcast.shared.keys import Keys
from jobcast.shared.names import check_queue_name
from jobcast.shared.redis import unavailable
from jobcast.shared.states import RUNNING, TERMINAL

INTERVAL_MS: Final = 100
"""Between two tellings of one parent's progress, by whichever processes run its children."""
MOST_GENERATIONS: Final = 32
"""Parents of parents that are looked after; a cycle, which BullMQ does not make, must not hold a worker."""
WAITS_MS: Final = 30 * DAY_MS
"""How long the record of a job lives that waits for its children: a child may be delayed for longer than a day, and the
numbers of those that are over stand nowhere else."""
MOST_ASKED: Final = 1000
MOST_QUEUES: Final = 100
"""Children of one parent that are asked for their queues, and queues of theirs that are listened to."""
LOOKED_AT: Final = 200
"""Parents of one queue that are compared in one look."""


@dataclass(frozen=True, slots=True)
class Told:
    """``again``: seconds after which to ask once more, for another has just told; ``parent``: whose numbers changed."""

    again: float | None = None
    parent: str | None = None


class Parents:
    """Every method raises ``Unavailable`` when Redis is away. ``client`` comes from ``connect_for_bullmq``."""

    def __init__(self, client: Redis, journal: Journal, *, prefix: str = "bull", keys: Keys | None = None) -> None:
        self._client = client
        self._journal = journal
        self._keys = keys or Keys()
        self._prefix = prefix

    async def prepare(self, queue: str, job_id: str, generations: int = MOST_GENERATIONS) -> None:
        """See to it that a parent is announced before a child of it is: what a child did before counts nowhere."""
        (reading,) = await self._journal.read_many([job_id])
        if not _is_announced(reading):
            await self.tell_standing(queue, job_id, generations)

    async def tell_standing(self, queue: str, job_id: str, generations: int = MOST_GENERATIONS) -> None:
        """Say how a job waits, as BullMQ has it: for its children, or for a worker. Of one that was taken, nothing."""
        record, children = await self._record(queue, job_id)
        if record is None:
            return
        above = _read(record["parent"], dict) or {}
        if above.get("id") and generations > 0:
            await self.prepare(str(above.get("queueKey")).rpartition(":")[2], str(above["id"]), generations - 1)
        opts = _read(record["opts"], dict) or {}
        born, delay = int(record["timestamp"] or 0), 0 if children else int(record["delay"] or 0)
        event = JobQueued(
            job_id=job_id,
            queue=queue,
            attempt=1,
            timestamp=born,
            name=str(record["name"]),
            max_attempts=max(1, _number(opts.get("attempts"), 1)),
            delay=delay or None,
            priority=int(record["priority"] or 0) or None,
            parent_id=str(above["id"]) if above.get("id") else None,
            weight=weight_of(opts),
            children=Children(children, share_of(opts)) if children else None,
        )
        try:
            appended = await self._journal.append(event, born=born, ttl=WAITS_MS if children else delay + DAY_MS)
        except Refused:
            return  # its worker was quicker, or its id is that of a running job of another queue
        if appended.parent is not None:
            await self.roll_up(appended.parent)
        if children:
            await self._note_queues(queue, job_id, born)

    async def _note_queues(self, queue: str, job_id: str, born: int) -> None:
        """Have the queues of its children listened to from its birth on: of one that workers of another kind work
        alone, the journal may never hear otherwise. Of a great many children the first thousand or so are asked."""
        key = f"{self._prefix}:{queue}:{job_id}"
        with unavailable():
            async with self._client.pipeline(transaction=False) as pipe:
                pipe.sscan(f"{key}:dependencies", count=MOST_ASKED)
                pipe.hscan(f"{key}:processed", count=MOST_ASKED)
                pipe.hscan(f"{key}:failed", count=MOST_ASKED)
                pages = await pipe.execute()
            found = {name for _, page in pages for child in page for name in _queue_of(child, self._prefix)}
            async with self._client.pipeline(transaction=False) as pipe:
                for name in sorted(found - {queue})[:MOST_QUEUES]:
                    pipe.hsetnx(self._keys.streams(), name, f"{born}-0")
                await pipe.execute()

    async def _record(self, queue: str, job_id: str) -> tuple[dict[str, Any] | None, int]:
        """What BullMQ holds of a job that waits, and how many children it waits for."""
        base = f"{self._prefix}:{queue}:"
        key = f"{base}{job_id}"
        names = ("name", "opts", "timestamp", "delay", "priority", "parent", "ats", "finishedOn")
        with unavailable():
            async with self._client.pipeline(transaction=True) as pipe:
                pipe.hmget(key, names)
                pipe.zscore(f"{base}waiting-children", job_id)
                pipe.scard(f"{key}:dependencies")
                pipe.hlen(f"{key}:processed")
                pipe.hlen(f"{key}:failed")
                pipe.zcard(f"{key}:unsuccessful")
                values, waits, *numbers = await pipe.execute()
        record = dict(zip(names, values, strict=True))
        if record["name"] is None or record["ats"] or record["finishedOn"]:
            return None, 0
        return record, sum(numbers) if waits is not None else 0

    async def roll_up(self, job_id: str, *, at_once: bool = False) -> Told:
        """Tell a parent's progress, if there is something to tell and nobody told it just now."""
        found = await self._journal.claim_roll_up(job_id, 0 if at_once else INTERVAL_MS)
        if isinstance(found, int):
            return Told(again=found / 1000)
        if found is None:
            return Told()
        try:
            # The count of the changes: of two that were claimed one after the other, the older cannot come last.
            key = Key(rollup.ROLL_UP, found.changes)
            appended = await self._journal.append(found.event(job_id, now_ms()), key=key, ttl=WAITS_MS)
        except Refused:
            return Told()  # it runs by now, or is over
        return Told(parent=appended.parent)

    async def child_ended(self, job_id: str, *, completed: bool) -> None:
        """Look after a job of which a child is over: all of them may be, or one that failed may have moved it."""
        (reading,) = await self._journal.read_many([job_id])
        found = rollup.read(reading.fields)
        if found is None or found.state != "waiting-children" or (completed and found.pending):
            return
        if not found.pending:
            told = await self.roll_up(job_id, at_once=True)
            if told.parent is not None:
                await self.roll_up(told.parent)
        if await self._left(found.queue, job_id):
            await self.tell_standing(found.queue, job_id)

    async def _left(self, queue: str, job_id: str) -> bool:
        with unavailable():
            return await self._client.zscore(f"{self._prefix}:{queue}:waiting-children", job_id) is None

    async def unsettled(self, queue: str, start: int) -> tuple[list[str], list[str], int]:
        """Of the queue's jobs that wait for children, from the ``start``-th: those nobody announced, those whose
        progress is not told, and where to go on."""
        with unavailable():
            key = f"{self._prefix}:{queue}:waiting-children"
            job_ids: list[str] = await self._client.zrange(key, start, start + LOOKED_AT - 1)  # type: ignore[assignment]
        readings = await self._journal.read_many(job_ids)
        known = [_is_announced(reading) for reading in readings]
        found = [rollup.read(reading.fields) for reading in readings]
        return (
            [job_id for job_id, is_known in zip(job_ids, known, strict=True) if not is_known],
            [job_id for job_id, each in zip(job_ids, found, strict=True) if each is not None and each.is_news],
            start + LOOKED_AT if len(job_ids) == LOOKED_AT else 0,
        )


def weight_of(opts: dict[str, Any]) -> float | None:
    """What a child counts, as its options in BullMQ say, whoever wrote them; None for 1."""
    weight = opts.get("weight")
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= rollup.HEAVIEST:
        return None
    return None if weight == 1 else float(weight)


def share_of(opts: dict[str, Any]) -> float:
    """How much of a parent's progress its children make up, as its options say."""
    share = opts.get("childrenShare")
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        return rollup.SHARE
    return float(share)


def _queue_of(key: str, prefix: str) -> list[str]:
    """The queue in a child's key, ``<prefix>:<queue>:<id>``; nothing of what is none."""
    if not key.startswith(f"{prefix}:"):
        return []
    try:
        return [check_queue_name(key[len(prefix) + 1 :].partition(":")[0])]
    except BadQueueName:
        return []


def _is_announced(reading: Reading) -> bool:
    if reading.position is None:
        return False
    state = reading.fields["state"].decode()
    return state in RUNNING or ("share" in reading.fields and state not in TERMINAL)


def _number(value: Any, other: int) -> int:
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else other


def _read(text: Any, kind: type[Any]) -> Any:
    try:
        value = msgspec.json.decode(text or b"null")
    except msgspec.DecodeError:
        return None
    return value if isinstance(value, kind) else None
