"""A journal in memory: the same law, numbers and answers as the one in Redis, for tests that need no server.

It is the script of the Redis journal said a second time, in Python; the contract suite and a stateful test hold the
two to the same answers. Nothing here is bounded in jobs: it is not for a service.
"""

import itertools
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from jobcast.shared.errors import BadRequest, Refused
from jobcast.shared.events import Event, encode_body
from jobcast.shared.journal.contract import Appended, Ask, Changes, Entry, IndexPage, Key, Life, Reading, continues
from jobcast.shared.journal.kin import Kin
from jobcast.shared.position import Position
from jobcast.shared.rollup import ROLL_UP, RollUp
from jobcast.shared.states import JOB_QUEUED, LIVE, TERMINAL

_CURSOR: Final = re.compile(r"[0-9]{1,15}", re.ASCII)


@dataclass(slots=True)
class _Record:
    epoch: str
    queue: str
    born: int
    history: deque[tuple[int, Entry]]
    """Events, each with its number in the queue."""
    seq: int = 0
    attempt: int = 0
    over: int = 0
    state: str = "unknown"
    cancel: str | None = None
    latest: dict[str, bytes] = field(default_factory=dict)
    writers: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    kin: Kin = field(default_factory=Kin)


Published = Callable[[str, str, bytes, bytes], None]
"""Called with an event's job and queue, and with what their channels carry."""


class MemoryJournal:
    """See :class:`~jobcast.shared.journal.contract.Journal`. ``published`` is called for each event."""

    def __init__(self, life: Life | None = None, published: Published | None = None) -> None:
        self._life = life or Life()
        self._published = published
        self._records: dict[str, _Record] = {}
        self._queues: dict[str, Position] = {}
        """Last changed last."""
        self._index: dict[str, dict[str, int]] = {}
        """Of each queue, its jobs with the number of their last event there."""
        self._epochs = itertools.count(1)
        self._queue_epochs = itertools.count(1)

    def forget(self) -> None:
        """Lose everything, as a Redis without persistence does when it restarts."""
        self._records.clear()
        self._queues.clear()
        self._index.clear()

    async def append(
        self,
        event: Event,
        *,
        key: Key | None = None,
        born: int = 0,
        ttl: int | None = None,  # noqa: ARG002  nothing expires here
    ) -> Appended:
        body = encode_body(event)
        record = self._records.get(event.job_id)
        if record is not None and event.queue != record.queue and record.state not in TERMINAL:
            raise Refused(event.kind, event.job_id, "other-queue", record.state)
        if record is not None and self._is_new_life(record, event, born):
            record = None
        if record is None:
            record = self._begin(event, born)
        elif (known := self._check(record, event, key)) is not None:
            return known
        parent = record.kin.take(event, record.attempt, self._kin_of)
        self._take(record, event, key, body)
        return Appended(Position(record.epoch, record.seq), True, record.cancel, parent, record.kin.share)

    def _kin_of(self, job_id: str) -> tuple[Kin, bool] | None:
        """A parent's, and whether it is over."""
        record = self._records.get(job_id)
        return None if record is None else (record.kin, record.state in TERMINAL)

    async def append_all(
        self, events: Sequence[Event], keys: Sequence[Key | None], *, born: int = 0, ttl: int | None = None
    ) -> list[Appended | Refused]:
        for event in events:
            encode_body(event)
        answers: list[Appended | Refused] = []
        for event, key in zip(events, keys, strict=True):
            try:
                answer = await self.append(event, key=key, born=born, ttl=ttl)
            except Refused as refused:
                answers.append(refused)
                continue
            answers.append(answer)
            if answer.cancelling is not None:
                break
        return answers

    def _is_new_life(self, record: _Record, event: Event, born: int) -> bool:
        if event.kind != JOB_QUEUED or not born or not record.born or born == record.born:
            return False
        if record.state not in TERMINAL and born < record.born:
            raise Refused(event.kind, event.job_id, "superseded", record.state)
        return True

    def _begin(self, event: Event, born: int) -> _Record:
        record = _Record(f"m{next(self._epochs)}", event.queue, born, deque(maxlen=self._life.history))
        self._records[event.job_id] = record
        return record

    def _check(self, record: _Record, event: Event, key: Key | None) -> Appended | None:
        """Raise if the law says no; answer for an event that is already recorded; None to go on."""

        def refused(reason: str) -> Refused:
            return Refused(event.kind, event.job_id, reason, record.state)

        if event.queue != record.queue:
            raise refused("other-queue")
        if key is not None and key.writer in record.writers:
            attempt, count, seq = record.writers[key.writer]
            if attempt == event.attempt and key.count <= count:
                return Appended(Position(record.epoch, seq), False, record.cancel, None, record.kin.share)
        moved = event.attempt == record.attempt != record.over and record.state in event.follows
        if event.kind == JOB_QUEUED and event.attempt <= record.attempt and not moved:
            return Appended(Position(record.epoch, record.seq), False, record.cancel, None, record.kin.share)
        if event.attempt < record.attempt:
            raise refused("stale-attempt")
        if event.attempt == record.attempt:
            if record.over == event.attempt:
                raise refused("closed")
            if record.state not in event.follows:
                raise refused("out-of-order")
        return None

    def _take(self, record: _Record, event: Event, key: Key | None, body: bytes) -> None:
        is_new = event.attempt > record.attempt
        if is_new:
            record.writers.clear()
        record.seq += 1
        record.attempt, record.state = event.attempt, event.leads_to
        place = self._count_in_queue(event.queue)
        self._index.setdefault(event.queue, {})[event.job_id] = place.seq
        payload = b'{"seq":%d,"epoch":"%s",' % (record.seq, record.epoch.encode()) + body
        wire = b'["%s",%s]' % (event.kind.encode(), payload)
        if event.rule.event_class != "log":
            record.latest[f"event:{event.kind}"] = payload
        if key is not None:
            record.writers[key.writer] = (event.attempt, key.count, record.seq)
        if event.ends_attempt:
            record.over = event.attempt
        if event.terminal or (event.kind == JOB_QUEUED and is_new):
            record.cancel = None
        record.history.append((place.seq, Entry(record.seq, wire)))
        if self._published is not None:
            at = b'{"queuePosition":{"seq":%d,"epoch":"%s"},' % (place.seq, place.epoch.encode())
            self._published(event.job_id, event.queue, wire, wire.replace(b"{", at, 1))

    def _count_in_queue(self, queue: str) -> Position:
        last = self._queues.pop(queue, None) or Position(f"q{next(self._queue_epochs)}", 0)
        place = self._queues[queue] = last._replace(seq=last.seq + 1)
        return place

    async def read(self, job_id: str, since: Position | None = None) -> Reading:
        record = self._records.get(job_id)
        if record is None:
            return Reading(None, {})
        position = Position(record.epoch, record.seq)
        fields = {
            "epoch": record.epoch.encode(),
            "seq": str(record.seq).encode(),
            "attempt": str(record.attempt).encode(),
            "state": record.state.encode(),
            "queue": record.queue.encode(),
            "born": str(record.born).encode(),
            "over": str(record.over).encode(),
            "at": str(int(time.time() * 1000)).encode(),
            **record.latest,
            **record.kin.fields,
        }
        if record.cancel is not None:
            fields["cancel"] = record.cancel.encode()
        if since is not None:
            missed = [entry for _, entry in record.history if entry.seq > since.seq]
            if continues(since, position, missed):
                return Reading(position, fields, missed, recovered=True)
        return Reading(position, fields)

    async def read_many(self, job_ids: Iterable[str]) -> list[Reading]:
        return [await self.read(job_id) for job_id in job_ids]

    async def history(self, job_id: str, limit: int = 256) -> list[Entry]:
        record = self._records.get(job_id)
        return [] if record is None else [entry for _, entry in record.history][-limit:]

    async def claim_roll_up(self, job_id: str, interval: int) -> RollUp | int | None:
        record = self._records.get(job_id)
        if record is None:
            return None
        attempt, count, seq = record.writers.get(ROLL_UP, (0, 0, 0))
        told = {f"writer:{ROLL_UP}": f"{attempt}:{count}:{seq}".encode()}
        return record.kin.claim((await self.read(job_id)).fields | told, interval)

    async def request_cancel(self, job_id: str, reason: str) -> bool:
        record = self._records.get(job_id)
        if record is None or record.state not in LIVE:
            return False
        record.cancel = reason or "cancelled"
        return True

    async def cancel_requests(self, job_ids: Sequence[str]) -> list[str | None]:
        return [None if (record := self._records.get(job_id)) is None else record.cancel for job_id in job_ids]

    async def jobs(self, queue: str, limit: int = 50, cursor: str | None = None, *, live: bool = False) -> IndexPage:
        if cursor is not None and _CURSOR.fullmatch(cursor) is None:
            raise BadRequest(f"expected a cursor from an earlier page, got {cursor[:64]!r}")
        last = int(cursor) if cursor is not None else None
        found = sorted(
            (
                (number, job_id)
                for job_id, number in self._index.get(queue, {}).items()
                if (last is None or number < last) and (not live or self._is_live(queue, job_id))
            ),
            reverse=True,
        )
        page = found[:limit]
        return IndexPage([job_id for _, job_id in page], str(page[-1][0]) if len(found) > limit else None)

    def _is_live(self, queue: str, job_id: str) -> bool:
        record = self._records[job_id]
        return record.queue == queue and record.state in LIVE

    async def queues(self) -> list[str]:
        return list(reversed(self._queues))

    async def changes(self, queue: str, since: Position | None, limit: int) -> Changes:
        place = self._queues.get(queue)
        if place is None:
            return Changes(None, [], since is None)
        continued = since is None or (since.epoch == place.epoch and since.seq <= place.seq)
        last = since.seq if since is not None and continued else 0
        found = sorted((number, job_id) for job_id, number in self._index.get(queue, {}).items() if number > last)
        return Changes(place, [job_id for _, job_id in found] if len(found) <= limit else None, continued)

    async def read_each(self, queue: str, asked: Sequence[Ask]) -> list[Reading]:
        return [
            await self.read(each.job_id, each.since)
            if each.place is None
            else await self._read_changed(queue, each.job_id, each.place)
            for each in asked
        ]

    async def _read_changed(self, queue: str, job_id: str, since: Position) -> Reading:
        reading, record, place = await self.read(job_id), self._records.get(job_id), self._queues.get(queue)
        if record is None or place is None or place.epoch != since.epoch:
            return reading
        missed = [entry for changed, entry in record.history if changed > since.seq]
        if len(missed) == len(record.history) and (not missed or missed[0].seq > 1):
            return reading
        return Reading(reading.position, reading.fields, missed, recovered=True)

    async def positions(self, job_ids: Sequence[str]) -> list[Position | None]:
        return [reading.position for reading in await self.read_many(job_ids)]

    async def queue_positions(self, queues: Sequence[str]) -> list[Position | None]:
        return [self.place(queue) for queue in queues]

    def place(self, queue: str) -> Position | None:
        """How far the queue is."""
        return self._queues.get(queue)
