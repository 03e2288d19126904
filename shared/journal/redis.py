"""The journal in Redis: one Lua script appends, one reads."""

import os
import re
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any, Final, cast

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, ResponseError

from jobcast.shared.errors import BadRequest, Refused
from jobcast.shared.events import Event, encode_body
from jobcast.shared.journal.answers import answered, entries, is_of_another_kind, legible, read_place, read_state
from jobcast.shared.journal.contract import Appended, Ask, Changes, Entry, IndexPage, Key, Life, Reading
from jobcast.shared.keys import Keys
from jobcast.shared.position import Position
from jobcast.shared.redis import unavailable
from jobcast.shared.rollup import FIELDS, ROLL_UP, RollUp, brood_of, kin_of, percent_of
from jobcast.shared.rollup import read as read_roll_up
from jobcast.shared.states import LIVE

_SCRIPT: Final = resources.files("jobcast.shared.journal").joinpath("append.lua").read_text("utf-8")
_CURSOR: Final = re.compile(r"[0-9]{1,15}", re.ASCII)
# A script and not a transaction: Redis refuses MULTI, even around reads, while it is out of memory.
_READ_SINCE: Final = """
return {redis.call('HGETALL', KEYS[1]), redis.call('XRANGE', KEYS[2], '(' .. ARGV[1] .. '-0', '+')}
"""
_CHANGES: Final = """
local place = redis.call('HMGET', KEYS[1], 'epoch', 'seq')
local epoch, last = place[1], tonumber(place[2] or '')
if not epoch or not last then return {'', 0, 0, {}} end
local since, continued = tonumber(ARGV[2]), 1
if ARGV[1] ~= '' and (ARGV[1] ~= epoch or since > last) then since, continued = 0, 0 end
return {epoch, last, continued, redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. since, '+inf', 'LIMIT', 0, ARGV[3])}
"""
# Backwards and by small steps: of a busy job all that is wanted is mostly the last few.
_READ_CHANGED: Final = """
local state, rows, top, oldest = redis.call('HGETALL', KEYS[1]), {}, '+', 0
if redis.call('HGET', KEYS[3], 'epoch') ~= ARGV[1] then return {state, rows, 0} end
while true do
  local page = redis.call('XREVRANGE', KEYS[2], top, '-', 'COUNT', 16)
  for _, row in ipairs(page) do
    local number = row[2][1] == 'e' and tonumber(row[2][4] or '')
    if not number then return {state, rows, 0} end
    if number <= tonumber(ARGV[2]) then return {state, rows, 1} end
    rows[#rows + 1] = row
    oldest = row[1]
  end
  if #page < 16 then return {state, rows, oldest == '1-0' and 1 or 0} end
  top = '(' .. oldest
end
"""
# One text for all of them: a thousand answers of two parts each held the gateway's loop up for 7 ms, every second.
_PLACES: Final = """
local found = {}
for i, key in ipairs(KEYS) do
  local at = redis.pcall('HMGET', key, 'epoch', 'seq')
  local whole = not at.err and at[1] and at[2] and string.match(at[1], '^%w+$') and string.match(at[2], '^%d+$')
  found[i] = whole and at[1] .. '-' .. at[2] or ''
end
return table.concat(found, ',')
"""
# Of all the workers that run children of one job, one tells its progress at a time.
_CLAIM: Final = f"""
local now, at = redis.call('TIME'), redis.call('HGET', KEYS[1], 'children:told-at')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local found = redis.call('HMGET', KEYS[1], unpack(ARGV, 2))
local told = tonumber(string.match(found[{FIELDS.index(f"writer:{ROLL_UP}") + 1}] or '', '^%d+:(%d+):') or '0')
if told >= tonumber(found[{FIELDS.index("children:changes") + 1}] or '0') then return {{'nothing'}} end
local wait = tonumber(ARGV[1]) - (now - (tonumber(at or '') or 0))
if wait > 0 and wait <= tonumber(ARGV[1]) then return {{'wait', wait}} end
redis.call('HSET', KEYS[1], 'children:told-at', string.format('%d', now))
return {{'tell', unpack(found)}}
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
    return os.urandom(5).hex()


class RedisJournal:
    """See :class:`~jobcast.shared.journal.contract.Journal`. The client is the caller's to close."""

    def __init__(self, client: Redis, keys: Keys | None = None, life: Life | None = None) -> None:
        self._client = client
        self._keys = keys or Keys()
        self._life = life or Life()
        self._append = client.register_script(_SCRIPT)
        self._read_since = client.register_script(_READ_SINCE)
        self._changes = client.register_script(_CHANGES)
        self._read_changed = client.register_script(_READ_CHANGED)
        self._places = client.register_script(_PLACES)
        self._claim = client.register_script(_CLAIM)
        self._request_cancel = client.register_script(_REQUEST_CANCEL)

    async def append(self, event: Event, *, key: Key | None = None, born: int = 0, ttl: int | None = None) -> Appended:
        (answer,) = await self.append_all([event], [key], born=born, ttl=ttl)
        if isinstance(answer, Refused):
            raise answer
        return answer

    async def append_all(
        self, events: Sequence[Event], keys: Sequence[Key | None], *, born: int = 0, ttl: int | None = None
    ) -> list[Appended | Refused]:
        job_id, queue, names = events[0].job_id, events[0].queue, self._keys
        args: list[Any] = [
            queue,
            job_id,
            names.channel(job_id),
            names.queue_channel(queue),
            new_epoch(),
            born,
            max(self._life.ttl, ttl or 0),
            self._life.history,
            names.state("%s"),
        ]
        for event, key in zip(events, keys, strict=True):
            args += _event_args(event, key)
        with unavailable():
            answers = await self._append(
                keys=[
                    names.state(job_id),
                    names.history(job_id),
                    names.queue_index(queue),
                    names.queues(),
                    names.queue_live(queue),
                    names.queue_state(queue),
                    names.troubles(),
                ],
                args=args,
            )
        return [_appended(event, answer) for event, answer in zip(events, answers, strict=False)]

    async def read(self, job_id: str, since: Position | None = None) -> Reading:
        # A queue is asked for by a place in it alone.
        (reading,) = await self.read_each("", [Ask(job_id, since)])
        return reading

    async def read_many(self, job_ids: Iterable[str]) -> list[Reading]:
        ids = list(job_ids)
        if not ids:
            return []
        with unavailable():
            async with self._client.pipeline(transaction=False) as pipe:
                for job_id in ids:
                    pipe.hgetall(self._keys.state(job_id))
                return [read_state(answer) for answer in await pipe.execute(raise_on_error=False)]

    async def history(self, job_id: str, limit: int = 256) -> list[Entry]:
        with unavailable():
            try:
                newest_first = await self._client.xrevrange(self._keys.history(job_id), count=limit)
            except ResponseError as error:
                if not is_of_another_kind(error):
                    raise
                return []
        return entries(cast("list[Any]", newest_first))[::-1]

    async def claim_roll_up(self, job_id: str, interval: int) -> RollUp | int | None:
        with unavailable():
            what, *found = await self._claim(keys=[self._keys.state(job_id)], args=[interval, *FIELDS])
        if what == b"wait":
            return int(found[0])
        fields = {name: value for name, value in zip(FIELDS, found, strict=False) if value is not None}
        roll_up = read_roll_up(fields)
        return roll_up if roll_up is not None and roll_up.is_news else None

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
        last = _read_cursor(cursor)
        index = self._keys.queue_live(queue) if live else self._keys.queue_index(queue)
        with legible(queue):
            found: list[tuple[bytes, float]] = await self._client.zrevrangebyscore(  # type: ignore[assignment]
                index, max="+inf" if last is None else f"({last}", min=0, start=0, num=limit + 1, withscores=True
            )
        page = found[:limit]
        return IndexPage([member.decode() for member, _ in page], f"{page[-1][1]:.0f}" if len(found) > limit else None)

    async def queues(self) -> list[str]:
        with unavailable():
            found: list[bytes] = await self._client.zrevrange(self._keys.queues(), 0, -1)  # type: ignore[assignment]
        return [name.decode() for name in found]

    async def changes(self, queue: str, since: Position | None, limit: int) -> Changes:
        keys = [self._keys.queue_state(queue), self._keys.queue_index(queue)]
        with legible(queue):
            epoch, last, continued, job_ids = await self._changes(
                keys=keys, args=[since.epoch if since else "", since.seq if since else 0, limit + 1]
            )
        if not epoch:
            return Changes(None, [], since is None)
        told = [each.decode() for each in job_ids] if len(job_ids) <= limit else None
        return Changes(Position(epoch.decode(), last), told, bool(continued))

    async def read_each(self, queue: str, asked: Sequence[Ask]) -> list[Reading]:
        if not asked:
            return []
        with unavailable():
            answers = await self._answers(queue, asked)
            if any(isinstance(answer, NoScriptError) for answer in answers):
                for script in (self._read_since, self._read_changed):
                    await self._client.script_load(script.script)
                answers = await self._answers(queue, asked)
            return [answered(each, answer) for each, answer in zip(asked, answers, strict=True)]

    async def _answers(self, queue: str, asked: Sequence[Ask]) -> list[Any]:
        # The scripts by their digests: redis-py would ask for each pipeline anew whether Redis has them.
        async with self._client.pipeline(transaction=False) as pipe:
            for ask in asked:
                keys = [self._keys.state(ask.job_id), self._keys.history(ask.job_id)]
                if ask.place is not None:
                    at = (self._keys.queue_state(queue), ask.place.epoch, str(ask.place.seq))
                    pipe.evalsha(self._read_changed.sha, 3, *keys, *at)
                elif ask.since is not None:
                    pipe.evalsha(self._read_since.sha, 2, *keys, str(ask.since.seq))
                else:
                    pipe.hgetall(keys[0])
            return await pipe.execute(raise_on_error=False)

    async def positions(self, job_ids: Sequence[str]) -> list[Position | None]:
        return await self._read_places([self._keys.state(job_id) for job_id in job_ids])

    async def queue_positions(self, queues: Sequence[str]) -> list[Position | None]:
        return await self._read_places([self._keys.queue_state(queue) for queue in queues])

    async def _read_places(self, keys: Sequence[str]) -> list[Position | None]:
        if not keys:
            return []
        with unavailable():
            told: bytes = await self._places(keys=keys)
        return [read_place(each) for each in told.decode().split(",")]


def _event_args(event: Event, key: Key | None) -> tuple[Any, ...]:
    percent = percent_of(event)
    return (
        event.kind,
        encode_body(event),
        event.attempt,
        ",".join(event.follows),
        event.leads_to,
        int(event.ends_attempt),
        int(event.terminal),
        key.writer if key else "",
        key.count if key else 0,
        event.rule.event_class,
        "" if percent is None else percent,
        kin_of(event),
        brood_of(event),
    )


def _appended(event: Event, answer: list[Any]) -> Appended | Refused:
    if answer[0] == b"refused":
        return Refused(event.kind, event.job_id, answer[1].decode(), answer[2].decode())
    outcome, epoch, seq, cancel, parent, share = answer
    return Appended(
        Position(epoch.decode(), int(seq)),
        outcome == b"ok",
        cancel.decode() or None,
        parent.decode() or None,
        int(share) / 100 if share else None,
    )


def _read_cursor(cursor: str | None) -> int | None:
    if cursor is not None and _CURSOR.fullmatch(cursor) is None:
        raise BadRequest(f"expected a cursor from an earlier page, got {cursor[:64]!r}")
    return None if cursor is None else int(cursor)
