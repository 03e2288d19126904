"""The journal in Redis: one Lua script appends, one reads."""

import re
import secrets
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any, Final, cast

from redis.asyncio import Redis

from jobcast.shared.errors import BadRequest, Refused
from jobcast.shared.events import Event, encode_body
from jobcast.shared.journal.contract import Appended, Entry, IndexPage, Key, Life, Reading, continues
from jobcast.shared.keys import Keys
from jobcast.shared.position import Position
from jobcast.shared.redis import unavailable
from jobcast.shared.states import LAW, LIVE

_SCRIPT: Final = resources.files("jobcast.shared.journal").joinpath("append.lua").read_text("utf-8")
_CURSOR: Final = re.compile(r"([0-9]{1,15}):([A-Za-z0-9_.:-]{1,128})", re.ASCII)
# A script and not a transaction: Redis refuses MULTI, even around reads, while it is out of memory.
_READ_SINCE: Final = """
return {redis.call('HGETALL', KEYS[1]), redis.call('XRANGE', KEYS[2], '(' .. ARGV[1] .. '-0', '+')}
"""
_REQUEST_CANCEL: Final = """
local state = redis.call('HGET', KEYS[1], 'state')
for live in string.gmatch(ARGV[2], '[^,]+') do
  if state == live then
    redis.call('HSET', KEYS[1], 'cancel', ARGV[1])
    return 1
  end
end
return 0
"""


def new_epoch() -> str:
    """Ten letters: two lives of one record share a name once in 10^12."""
    return f"{secrets.randbits(40):010x}"


class RedisJournal:
    """See :class:`~jobcast.shared.journal.contract.Journal`. The client is the caller's to close."""

    def __init__(self, client: Redis, keys: Keys | None = None, life: Life | None = None) -> None:
        self._client = client
        self._keys = keys or Keys()
        self._life = life or Life()
        self._append = client.register_script(_SCRIPT)
        self._read_since = client.register_script(_READ_SINCE)
        self._request_cancel = client.register_script(_REQUEST_CANCEL)

    async def append(self, event: Event, *, key: Key | None = None, born: int = 0, ttl: int | None = None) -> Appended:
        job_id, keys = event.job_id, self._keys
        rule = LAW[event.kind]
        body = encode_body(event)
        with unavailable():
            answer = await self._append(
                keys=[
                    keys.state(job_id),
                    keys.history(job_id),
                    keys.queue_index(event.queue),
                    keys.queues(),
                    keys.queue_live(event.queue),
                ],
                args=[
                    event.kind,
                    body,
                    event.attempt,
                    event.queue,
                    ",".join(rule.follows),
                    event.leads_to,
                    int(event.ends_attempt),
                    int(event.terminal),
                    key.writer if key else "",
                    key.count if key else 0,
                    new_epoch(),
                    born,
                    max(self._life.ttl, ttl or 0),
                    self._life.history,
                    keys.channel(job_id),
                    keys.queue_channel(event.queue),
                    job_id,
                    rule.event_class,
                ],
            )
        if answer[0] == b"refused":
            raise Refused(event.kind, job_id, answer[1].decode(), answer[2].decode())
        outcome, epoch, seq, cancel = answer
        return Appended(Position(epoch.decode(), int(seq)), outcome == b"ok", cancel.decode() or None)

    async def read(self, job_id: str, since: Position | None = None) -> Reading:
        if since is None:
            with unavailable():
                return _reading(await self._client.hgetall(self._keys.state(job_id)))  # type: ignore[arg-type]
        with unavailable():
            state, rows = await self._read_since(
                keys=[self._keys.state(job_id), self._keys.history(job_id)], args=[since.seq]
            )
        reading = _reading(dict(zip(state[::2], state[1::2], strict=True)))
        if reading.position is None:
            return reading
        missed = [Entry(int(entry_id.partition(b"-")[0]), values[1]) for entry_id, values in rows]
        if not continues(since, reading.position, missed):
            return reading
        return Reading(reading.position, reading.fields, missed, recovered=True)

    async def read_many(self, job_ids: Iterable[str]) -> list[Reading]:
        ids = list(job_ids)
        if not ids:
            return []
        with unavailable():
            async with self._client.pipeline(transaction=False) as pipe:
                for job_id in ids:
                    pipe.hgetall(self._keys.state(job_id))
                return [_reading(answer) for answer in await pipe.execute()]

    async def history(self, job_id: str, limit: int = 256) -> list[Entry]:
        with unavailable():
            newest_first = await self._client.xrevrange(self._keys.history(job_id), count=limit)
        return _entries(cast("list[Any]", newest_first))[::-1]

    async def request_cancel(self, job_id: str, reason: str) -> bool:
        with unavailable():
            taken = await self._request_cancel(
                keys=[self._keys.state(job_id)], args=[reason or "cancelled", ",".join(LIVE)]
            )
        return bool(taken)

    async def cancel_requests(self, job_ids: Sequence[str]) -> list[str | None]:
        if not job_ids:
            return []
        with unavailable():
            async with self._client.pipeline(transaction=False) as pipe:
                for job_id in job_ids:
                    pipe.hget(self._keys.state(job_id), "cancel")
                return [None if answer is None else answer.decode() for answer in await pipe.execute()]

    async def jobs(self, queue: str, limit: int = 50, cursor: str | None = None, *, live: bool = False) -> IndexPage:
        # The cursor is "<ms>:<last id given>". Jobs of one millisecond stand in the order of their ids, so what is
        # still owed is known by name; a mere count would skip a job for each one that moved to the front meanwhile.
        after = _read_cursor(cursor)
        index = self._keys.queue_live(queue) if live else self._keys.queue_index(queue)
        with unavailable():
            async with self._client.pipeline(transaction=False) as pipe:
                if after is not None:
                    pipe.zrevrangebyscore(index, max=after[0], min=after[0], withscores=True)
                older = "+inf" if after is None else f"({after[0]}"
                pipe.zrevrangebyscore(index, max=older, min=0, start=0, num=limit + 1, withscores=True)
                answers = await pipe.execute()
        found: list[tuple[bytes, float]] = answers[-1]
        if after is not None:
            found = [row for row in answers[0] if row[0] < after[1]] + found
        page = [(member.decode(), int(score)) for member, score in found[:limit]]
        more = len(found) > limit
        return IndexPage([job_id for job_id, _ in page], f"{page[-1][1]}:{page[-1][0]}" if more else None)

    async def queues(self) -> list[str]:
        with unavailable():
            found: list[bytes] = await self._client.zrevrange(self._keys.queues(), 0, -1)  # type: ignore[assignment]
        return [name.decode() for name in found]


def _read_cursor(cursor: str | None) -> tuple[int, bytes] | None:
    if cursor is None:
        return None
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise BadRequest(f"expected a cursor from an earlier page, got {cursor[:64]!r}")
    return int(found[1]), found[2].encode()


def _reading(fields: dict[bytes, bytes]) -> Reading:
    if not fields.get(b"epoch") or not fields.get(b"seq"):
        return Reading(None, {})
    position = Position(fields[b"epoch"].decode(), int(fields[b"seq"]))
    return Reading(position, {name.decode(): value for name, value in fields.items()})


def _entries(rows: Sequence[Any]) -> list[Entry]:
    return [Entry(int(entry_id.partition(b"-")[0]), values[b"e"]) for entry_id, values in rows]
