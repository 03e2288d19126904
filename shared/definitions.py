"""How a queue is worked, as data: read from a file, written into Redis by workers, read there by everyone else.

One hash for each queue, BullMQ's words as its fields and JSON as their values. It is news of the worker that started
last, not a switch: what is changed there changes no worker, only what producers give to jobs that say nothing.
"""

import time
import uuid
from collections import OrderedDict
from typing import Annotated, Any, Final

import msgspec
from redis.asyncio import Redis

from jobcast.shared.clock import now_ms
from jobcast.shared.errors import JobcastError
from jobcast.shared.keys import Keys
from jobcast.shared.options import LARGEST_PRIORITY, Backoff, JobOptions, Keep, priority_number
from jobcast.shared.redis import unavailable

# Defaults of BullMQ keep finished jobs for ever.
KEEP_COMPLETED: Final = Keep(age=24 * 3600, count=1000)
KEEP_FAILED: Final = Keep(age=7 * 24 * 3600, count=5000)
KEPT: Final[dict[str, Any]] = msgspec.to_builtins({"removeOnComplete": KEEP_COMPLETED, "removeOnFail": KEEP_FAILED})
"""The same in BullMQ's words."""
MOST_AT_ONCE: Final = 1000
"""Jobs of one queue in one process; each holds a slot, a lock and maybe a thread."""
LONGEST_TIMEOUT: Final = 7 * 24 * 3600.0
BELIEVED: Final = 5.0
"""Seconds a producer believes a definition before it looks again: so long may a new worker's word go unheard."""
MOST_BELIEVED: Final = 256

_Seconds = Annotated[float, msgspec.Meta(gt=0, le=LONGEST_TIMEOUT)]


class JobTimes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """Of the jobs of one name, in seconds: an attempt ends at ``timeout``, is called stuck after ``stale_after``."""

    timeout: _Seconds | None = None
    stale_after: _Seconds | None = None


class Limiter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """At most ``count`` jobs of the queue are started per ``duration`` ms, over all workers together.

    As data the count is ``max``, BullMQ's word.
    """

    count: Annotated[int, msgspec.Meta(ge=1, le=10**9)] = msgspec.field(name="max")
    duration: Annotated[int, msgspec.Meta(ge=1, le=10**10)]


class QueueWords(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """What can be said of a queue. A number for ``remove_on_...`` is a count; ``jobs`` are by name."""

    concurrency: Annotated[int, msgspec.Meta(ge=1, le=MOST_AT_ONCE)] | None = None
    max_concurrency: Annotated[int, msgspec.Meta(ge=1, le=MOST_AT_ONCE)] | None = None
    attempts: Annotated[int, msgspec.Meta(ge=1, le=1000)] | None = None
    backoff: Backoff | None = None
    priority: Annotated[int, msgspec.Meta(ge=0, le=LARGEST_PRIORITY)] | str | None = None
    remove_on_complete: Annotated[int, msgspec.Meta(ge=0, le=10**9)] | Keep | None = None
    remove_on_fail: Annotated[int, msgspec.Meta(ge=0, le=10**9)] | Keep | None = None
    limiter: Limiter | None = None
    max_stalled_count: Annotated[int, msgspec.Meta(ge=0, le=1000)] | None = None
    jobs: dict[str, JobTimes] = {}

    def __post_init__(self) -> None:
        if self.priority is not None:
            priority_number(self.priority)

    def for_jobs(self) -> dict[str, Any]:
        """BullMQ's options of a job that says nothing itself."""
        names = ("attempts", "backoff", "removeOnComplete", "removeOnFail")
        said: dict[str, Any] = msgspec.to_builtins(self)
        options = {name: said[name] for name in names if name in said}
        if self.priority is not None:
            options["priority"] = priority_number(self.priority)
        return options


class Definitions:
    """The definitions in Redis. The client may speak text or bytes, and is the caller's to close."""

    def __init__(self, client: Redis, keys: Keys | None = None) -> None:
        self._client = client
        self._keys = keys or Keys()
        self._believed: OrderedDict[str, tuple[float, QueueWords | None]] = OrderedDict()

    async def write(self, queue: str, words: QueueWords, *, worker: str) -> None:
        """Put the definition in the place of the one before; with it ``worker``, and ``at`` in Unix ms.

        Raises:
            Unavailable: perhaps it was written; to be done again.
        """
        fields = {name: msgspec.json.encode(value).decode() for name, value in msgspec.to_builtins(words).items()}
        key = self._keys.queue_definition(queue)
        with unavailable():
            async with self._client.pipeline(transaction=True) as pipe:
                pipe.delete(key)
                pipe.hset(key, mapping={**fields, "at": str(now_ms()), "worker": msgspec.json.encode(worker).decode()})
                await pipe.execute()

    async def read(self, queue: str) -> QueueWords | None:
        """What the worker that started last said; None when none ever did. A field that cannot be read is left out."""
        with unavailable():
            found = await self._client.hgetall(self._keys.queue_definition(queue))
        return _decoded(found) if found else None

    async def for_jobs(self, queue: str) -> dict[str, Any]:
        """BullMQ's options of a job of this queue that says nothing itself.

        Of a queue nobody has worked yet only how long its jobs are kept: the rest is the worker's to say, then, and
        what is written into a job now would stand against it.
        """
        words = await self._believe(queue)
        return {**KEPT, **(words.for_jobs() if words else {})}

    async def _believe(self, queue: str) -> QueueWords | None:
        until, words = self._believed.get(queue, (0.0, None))
        if time.monotonic() > until:
            words = await self.read(queue)
            self._believed[queue] = (time.monotonic() + BELIEVED, words)
            self._believed.move_to_end(queue)
            if len(self._believed) > MOST_BELIEVED:
                self._believed.popitem(last=False)
        return words


def wanted(options: JobOptions, defaults: dict[str, Any], born: int) -> dict[str, Any]:
    """What BullMQ is told of a job. One that is to be the next of all takes no priority from its queue."""
    if options.lifo:
        defaults = {name: value for name, value in defaults.items() if name != "priority"}
    return {"jobId": uuid.uuid4().hex, **defaults, **options.for_bullmq(born), "timestamp": born}


def _decoded(found: dict[Any, Any]) -> QueueWords:
    """Field by field: a newer worker's words, or somebody's slip, must not hide the rest."""
    text = {_text(name): _text(value) for name, value in found.items()}
    said: dict[str, Any] = {}
    for field in msgspec.structs.fields(QueueWords):
        if field.encode_name in text:
            try:
                value = msgspec.json.decode(text[field.encode_name])
                msgspec.convert({field.encode_name: value}, QueueWords)
            except (msgspec.DecodeError, ValueError, TypeError, JobcastError):
                continue
            said[field.encode_name] = value
    return msgspec.convert(said, QueueWords)


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
