"""What BullMQ's streams say of a queue's jobs, read forward by one worker of all: which ended, which were queued again.

The place is kept in Redis. A worker that takes over from one that died reads again what that one had not seen to.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from redis.asyncio import Redis

from jobcast.shared.heartbeats import LIFE_MS
from jobcast.shared.keys import Keys
from jobcast.shared.lease import Lease
from jobcast.shared.redis import unavailable
from jobcast.worker.ended import End, end_in, is_end

PAGE: Final = 1000
PAGES: Final = 11
"""Of one stream in one look: BullMQ keeps about 10,000 events of a queue."""
BACK_MS: Final = 60_000
"""How far back a stream is read that was never read before."""
LEASE: Final = 5.0
"""Seconds without a look after which another worker takes over."""
MOST_NAMES: Final = 10_000

_HEAR: Final = """
local page = redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', ARGV[2])
local told, again = {}, {}
for at = 3, #ARGV do again[ARGV[at]] = true end
for _, entry in ipairs(page) do
  local fields = {}
  for at = 1, #entry[2], 2 do fields[entry[2][at]] = entry[2][at + 1] end
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
end
return {#page > 0 and page[#page][1] or ARGV[1], #page, told}
"""
"""A page of a stream, without what the journal knows already: where ours alone work, that is nearly all of it, and to
send and read it all would cost their worker a twentieth of its time."""


@dataclass(slots=True)
class Stream:
    """One queue's stream as far as it was read: ``place`` is the id of its last entry.

    ``ended`` and ``again``: the jobs that ended, and those that were over and wait again, with the id of the entry.
    """

    queue: str
    place: str
    ended: dict[str, tuple[str, End]] = field(default_factory=dict)
    again: dict[str, str] = field(default_factory=dict)
    missed: set[str] = field(default_factory=set)
    """Of those that wait again: which were gone when they were looked at."""
    names: OrderedDict[str, str] = field(default_factory=OrderedDict)
    """Of the jobs that were added since we read, for those of which BullMQ keeps no record; the last ten thousand."""

    def hear(self, entry_id: str, fields: dict[str, str]) -> None:
        event, job_id = fields.get("event"), fields.get("jobId", "")
        if event == "added":
            self.names[job_id] = fields.get("name", "")
            if len(self.names) > MOST_NAMES:
                self.names.popitem(last=False)
        elif is_end(fields):
            self.ended[job_id] = entry_id, end_in(entry_id, fields)
        elif event == "waiting" and fields.get("prev") in {"completed", "failed"}:
            self.again[job_id] = entry_id
            self.ended.pop(job_id, None)


class Streams:
    """Every method raises ``Unavailable`` when Redis is away. ``client`` comes from ``connect_for_bullmq``."""

    def __init__(self, client: Redis, commands: Redis, keys: Keys, prefix: str) -> None:
        self._client = client
        self._commands = commands
        self._keys = keys
        self._prefix = prefix
        self._hear = client.register_script(_HEAR)
        self.lease = Lease(commands, keys.lease("streams"), LEASE)

    async def places(self) -> dict[str, str]:
        """The place in each queue's stream that was read, or is to be."""
        with unavailable():
            found: dict[bytes, bytes] = await self._commands.hgetall(self._keys.streams())  # type: ignore[assignment]
        return {queue.decode(): place.decode() for queue, place in found.items()}

    async def start(self) -> str:
        """Where to begin in a stream that has no place."""
        with unavailable():
            seconds, _ = await self._client.time()
        return f"{seconds * 1000 - BACK_MS}-0"

    async def read(self, streams: list[Stream]) -> bool:
        """Hear a page of each; whether one of them has more."""
        with unavailable():
            async with self._client.pipeline(transaction=False) as pipe:
                for each in streams:
                    index, live = self._keys.queue_index(each.queue), self._keys.queue_live(each.queue)
                    keys = [f"{self._prefix}:{each.queue}:events", index, live]
                    await self._hear(keys=keys, args=[each.place, PAGE, *each.again], client=pipe)
                pages = await pipe.execute()
        for each, (place, _, told) in zip(streams, pages, strict=True):
            for entry_id, fields in told:
                each.hear(entry_id, dict(zip(fields[::2], fields[1::2], strict=True)))
            each.place = place
        return any(length == PAGE for _, length, _ in pages)

    async def untold(self, stream: Stream) -> list[str]:
        """Those of the jobs that ended of which the journal does not know it: it shows them as live, or not at all."""
        job_ids = list(stream.ended)
        if not job_ids:
            return []
        with unavailable():
            async with self._commands.pipeline(transaction=False) as pipe:
                pipe.zmscore(self._keys.queue_index(stream.queue), job_ids)
                pipe.zmscore(self._keys.queue_live(stream.queue), job_ids)
                known, live = await pipe.execute()
        found = zip(job_ids, known, live, strict=True)
        return [job_id for job_id, is_known, is_live in found if is_known is None or is_live is not None]

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
