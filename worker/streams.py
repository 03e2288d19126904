"""What BullMQ's streams say of a queue's jobs, read forward by one worker of all: which ended, which were queued again.

The place is kept in Redis. A worker that takes over from one that died reads again what that one had not seen to.
"""

import re
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from redis.asyncio import Redis

from jobcast.shared import logs
from jobcast.shared.events import LARGEST_EVENT
from jobcast.shared.heartbeats import LIFE_MS
from jobcast.shared.journal.answers import is_of_another_kind
from jobcast.shared.keys import Keys
from jobcast.shared.lease import Lease
from jobcast.shared.redis import unavailable
from jobcast.worker.ended import End, end_in, is_end
from jobcast.worker.repair import SOMEBODY

PAGE: Final = 1000
PAGES: Final = 11
"""Of one stream in one look: BullMQ keeps about 10,000 events of a queue."""
BACK_MS: Final = 60_000
"""How far back a stream is read that was never read before."""
LEASE: Final = 5.0
"""Seconds without a look after which another worker takes over."""
MOST_NAMES: Final = 10_000
MOST_STREAMS: Final = 1000
"""Whose place is kept; of more those are forgotten in which nothing has happened for longest. As many as the journal
lists."""

LARGEST_PAGE: Final = 1024 * 1024
"""Bytes after which a page is full. What Redis reads at once is at most ``STEP`` entries more."""
STEP: Final = 50
_PLACE: Final = re.compile(rb"[0-9]{1,15}-[0-9]{1,20}")

_HEAR: Final = """
local place, most, fullest, step = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local largest, back = tonumber(ARGV[5]), tonumber(ARGV[6])
local told, again, read, bytes = {}, {}, 0, 0
for at = 7, #ARGV do again[ARGV[at]] = true end
while read < most and bytes < fullest do
  local part = redis.call('XRANGE', KEYS[1], '(' .. place, '+', 'COUNT', step)
  for _, entry in ipairs(part) do
    local fields = {}
    for at = 1, #entry[2], 2 do
      local name, value = entry[2][at], entry[2][at + 1]
      bytes = bytes + #value
      -- A result that no event can carry is not told; of a reason the beginning is.
      if #value > largest then value = name == 'returnvalue' and '' or string.sub(value, 1, largest) end
      fields[name], entry[2][at + 1] = value, value
    end
    local event, id, prev = fields.event, fields.jobId or '', fields.prev
    local wanted
    if event == 'added' then
      wanted = not redis.call('ZSCORE', KEYS[2], id)
    elseif event == 'completed' or event == 'failed' or event == 'removed' then
      wanted = again[id] or not redis.call('ZSCORE', KEYS[2], id) or redis.call('ZSCORE', KEYS[3], id)
    elseif event == 'waiting' and (prev == 'completed' or prev == 'failed') then
      wanted, again[id] = true, true
    end
    if wanted then told[#told + 1] = entry end
    place = entry[1]
  end
  read = read + #part
  if #part < step then
    -- Of a stream that is gone, and was written before the clock was set back, a place would hide what comes since.
    local now = redis.call('TIME')[1] * 1000
    if read == 0 and tonumber(string.match(place, '^%d+')) > now + 1000 then
      local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
      if not last or last[1] ~= place then place = string.format('%d-0', now - back) end
    end
    return {place, 0, told}
  end
end
return {place, 1, told}
"""
"""A page of a stream, without what the journal knows already: where ours alone work, that is nearly all of it, and to
send and read it all would cost their worker a twentieth of its time."""

_log = logs.get("streams")


class Heard(NamedTuple):
    """An end that was heard of: by which entry, when (seconds of the monotonic clock), and what its job is called."""

    entry_id: str
    end: End
    since: float
    name: str


@dataclass(slots=True)
class Stream:
    """One queue's stream as far as it was read: ``place`` is the id of its last entry.

    ``ended`` and ``again``: the jobs that ended, in the order of the stream, and those that were over and wait again,
    with the id of the entry.
    """

    queue: str
    place: str
    ended: dict[str, Heard] = field(default_factory=dict)
    size: int = 0
    """Of the results and reasons that were heard and are not seen to."""
    again: dict[str, str] = field(default_factory=dict)
    missed: set[str] = field(default_factory=set)
    """Of those that wait again: which were gone when they were looked at."""
    names: OrderedDict[str, str] = field(default_factory=OrderedDict)
    """Of the jobs that were added since we read, for those of which BullMQ keeps no record; the last ten thousand."""
    illegible: bool = False

    def hear(self, entry_id: str, fields: dict[str, str]) -> None:
        event, job_id = fields.get("event"), fields.get("jobId", "")
        if event == "added":
            self._name(job_id, fields.get("name", ""))
        elif is_end(fields):
            known = self.forget(job_id)
            name = self.names.pop(job_id, SOMEBODY if known is None else known.name)
            self.ended[job_id] = Heard(entry_id, end_in(entry_id, fields), time.monotonic(), name)
            self.size += len(self.ended[job_id].end.text)
        elif event == "waiting" and fields.get("prev") in {"completed", "failed"}:
            self.again[job_id] = entry_id
            if (known := self.forget(job_id)) is not None:
                self._name(job_id, known.name)

    def forget(self, job_id: str) -> Heard | None:
        """Take the job off those that ended."""
        heard = self.ended.pop(job_id, None)
        if heard is not None:
            self.size -= len(heard.end.text)
        return heard

    def _name(self, job_id: str, name: str) -> None:
        self.names[job_id] = name
        if len(self.names) > MOST_NAMES:
            self.names.popitem(last=False)

    @property
    def settled(self) -> str:
        """The place up to which all was seen to."""
        ended = next((heard.entry_id for heard in self.ended.values()), None)
        waits = [each for each in (ended, *self.again.values()) if each is not None]
        return before(min(waits, key=milliseconds)) if waits else self.place


class Streams:
    """Every method raises ``Unavailable`` when Redis is away. All is read as bytes: one text that is no UTF-8 must not
    keep the others from being read."""

    def __init__(self, commands: Redis, keys: Keys, prefix: str) -> None:
        self._commands = commands
        self._keys = keys
        self._prefix = prefix
        self._hear = commands.register_script(_HEAR)
        self.lease = Lease(commands, keys.lease("streams"), LEASE)

    async def places(self) -> dict[str, str]:
        """The place in each queue's stream that was read, or is to be; one that is none stands for none."""
        with unavailable():
            found: dict[bytes, bytes] = await self._commands.hgetall(self._keys.streams())  # type: ignore[assignment]
            places = {_text(queue): place.decode() for queue, place in found.items() if _PLACE.fullmatch(place)}
            if len(places) > MOST_STREAMS:
                idle = sorted(places, key=lambda queue: milliseconds(places[queue]))[:-MOST_STREAMS]
                await self._commands.hdel(self._keys.streams(), *idle)
                for queue in idle:
                    del places[queue]
        return places

    async def start(self) -> str:
        """Where to begin in a stream that has no place."""
        with unavailable():
            seconds, _ = await self._commands.time()
        return f"{seconds * 1000 - BACK_MS}-0"

    async def read(self, streams: list[Stream]) -> list[Stream]:
        """Hear a page of each; those that have more."""
        with unavailable():
            async with self._commands.pipeline(transaction=False) as pipe:
                for each in streams:
                    index, live = self._keys.queue_index(each.queue), self._keys.queue_live(each.queue)
                    keys = [f"{self._prefix}:{each.queue}:events", index, live]
                    args: list[str | int] = [each.place, PAGE, LARGEST_PAGE, STEP, LARGEST_EVENT, BACK_MS, *each.again]
                    await self._hear(keys=keys, args=args, client=pipe)
                pages = await pipe.execute(raise_on_error=False)
            return [each for each, page in zip(streams, pages, strict=True) if self._heard(each, page)]

    @staticmethod
    def _heard(stream: Stream, page: Any) -> bool:
        if isinstance(page, Exception):
            if not is_of_another_kind(page):
                raise page
            if not stream.illegible:
                _log.warning("the events of a queue cannot be read", queue=stream.queue, error=str(page))
            stream.illegible = True
            return False
        place, more, told = page
        for entry_id, fields in told:
            texts = [_text(each) for each in fields]
            stream.hear(entry_id.decode(), dict(zip(texts[::2], texts[1::2], strict=True)))
        stream.place = place.decode()
        return bool(more)

    async def untold(self, queue: str, job_ids: list[str]) -> set[str]:
        """Those of the jobs that ended of which the journal does not know it: it shows them as live, or not at all."""
        if not job_ids:
            return set()
        with unavailable():
            async with self._commands.pipeline(transaction=False) as pipe:
                pipe.zmscore(self._keys.queue_index(queue), job_ids)
                pipe.zmscore(self._keys.queue_live(queue), job_ids)
                known, live = await pipe.execute()
        found = zip(job_ids, known, live, strict=True)
        return {job_id for job_id, is_known, is_live in found if is_known is None or is_live is not None}

    async def keep(self, places: dict[str, str]) -> None:
        """Note how far the streams were read and seen to."""
        if places:
            with unavailable():
                await self._commands.hset(self._keys.streams(), mapping=places)  # type: ignore[arg-type]
                await self._commands.pexpire(self._keys.streams(), LIFE_MS)


def milliseconds(entry_id: str) -> int:
    """When an entry was written, Unix ms."""
    return int(entry_id.partition("-")[0])


def before(entry_id: str) -> str:
    """A place from which on the entry is read again."""
    return f"{milliseconds(entry_id) - 1}-{2**64 - 1}"


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
