"""Locks that jobs hold on what lies outside their queue, a wallet or an account: owned, extended, released.

A lock is a key whose value names its owner: ``<jobId>/<token of the attempt>.<number>``. It is a lease. Its holder is
stopped when it is gone, but a machine that stood still learns of that late: for a moment two may believe they hold it.
What must never happen twice needs a guard where it happens, too.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis

from jobcast.shared import logs
from jobcast.shared.errors import BadRequest, Unavailable
from jobcast.shared.names import check_lock_key
from jobcast.shared.redis import unavailable
from jobcast.shared.supervise import supervise, wait_for_event
from jobcast.worker.errors import LockHeld

DEFAULT_TTL: Final = 300.0
SHORTEST_TTL: Final = 0.1
LONGEST_TTL: Final = 24 * 3600.0
MOST_AT_ONCE: Final = 500
"""Locks extended by one script, in which Redis serves nobody else."""
IDLE: Final = 60.0
AGAIN: Final = 0.25
"""Seconds, at most, until a lock that could not be extended is extended again."""
LAST_RELEASES: Final = 1.0

# The answer may be lost and the call made again: it then finds the key its own.
_TAKE: Final = """
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return false end
local holder = redis.pcall('GET', KEYS[1])
if type(holder) == 'table' then return '?' end
if holder ~= ARGV[1] then return holder end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return false
"""
_EXTEND: Final = """
local kept = {}
for i, key in ipairs(KEYS) do
  kept[i] = 0
  if redis.pcall('GET', key) == ARGV[2 * i - 1] then kept[i] = redis.call('PEXPIRE', key, ARGV[2 * i]) end
end
return kept
"""
_RELEASE: Final = """
if redis.pcall('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""

_log = logs.get("locks")


@dataclass(slots=True, eq=False)
class Held:
    """A lock in hand. Seconds of the event loop's clock: extended when ``due``, given up for lost at ``timer``."""

    key: str
    value: str
    ttl: float
    lost: Callable[[str], None]
    due: float = 0.0
    timer: asyncio.TimerHandle | None = None


class Locks:
    """The locks of all jobs of this process; one loop extends them, each at a third of its life."""

    def __init__(self, client: Redis) -> None:
        self._take = client.register_script(_TAKE)
        self._extend = client.register_script(_EXTEND)
        self._give_back = client.register_script(_RELEASE)
        self._held: set[Held] = set()
        self._numbers = itertools.count(1)
        self._wake = asyncio.Event()
        self._over = asyncio.Event()
        self._releases: set[asyncio.Task[bool]] = set()

    async def run(self) -> None:
        """Extend what is held until :meth:`stop`; then wait a moment for what is being released."""
        await supervise("extend locks", self._extend_due, self._over)
        if self._releases:
            await asyncio.wait(self._releases, timeout=LAST_RELEASES)

    def stop(self) -> None:
        self._over.set()
        self._wake.set()

    async def acquire(self, key: str, owner: str, ttl: float, lost: Callable[[str], None]) -> Held:
        """Take a lock for ``ttl`` seconds, or rather until it is released. ``lost`` is called with its key if it goes.

        Raises:
            LockHeld: another has it, or this owner in another place.
            Unavailable: Redis is away.
        """
        held = Held(key, f"{owner}.{next(self._numbers)}", ttl, lost)
        asked = asyncio.get_running_loop().time()
        try:
            with unavailable():
                holder = await self._take(keys=[key], args=[held.value, round(ttl * 1000)])
        except BaseException:
            self._release_later(held)  # perhaps it was taken, and only the answer did not come
            raise
        if holder is not None:
            raise LockHeld(key, holder.decode("utf-8", "replace") if isinstance(holder, bytes) else str(holder))
        self._held.add(held)
        self._keep(held, asked)
        self._wake.set()
        return held

    async def release(self, held: Held) -> None:
        """Give a lock back if it is still ours. While Redis is away it is left to run out."""
        if held in self._held and not await asyncio.shield(self._release_later(held)):
            held.lost(held.key)

    def release_soon(self, held: Held) -> None:
        """The same without waiting, and without a word if it was lost: who held it has ended."""
        if held in self._held:
            self._release_later(held)

    def _release_later(self, held: Held) -> "asyncio.Task[bool]":
        self._forget(held)
        task = asyncio.create_task(self._released(held), name=f"release {held.key}")
        self._releases.add(task)
        task.add_done_callback(self._releases.discard)
        return task

    async def _released(self, held: Held) -> bool:
        """Whether it was ours until now, as far as can be told."""
        try:
            with unavailable():
                return bool(await self._give_back(keys=[held.key], args=[held.value]))
        except Unavailable as error:
            _log.warning("a lock is left to run out", key=held.key, ttl=held.ttl, error=str(error))
            return True

    async def _extend_due(self) -> None:
        loop = asyncio.get_running_loop()
        asked = loop.time()
        due = [held for held in self._held if held.due <= asked][:MOST_AT_ONCE]
        if not due:
            self._wake.clear()
            await wait_for_event(self._wake, min((held.due - asked for held in self._held), default=IDLE))
            return
        args = [part for held in due for part in (held.value, round(held.ttl * 1000))]
        try:
            with unavailable():
                kept = await self._extend(keys=[held.key for held in due], args=args)
        except Unavailable as error:
            # Not raised: the loop's own back-off is longer than a short lock lives.
            _log.warning("locks were not extended; trying again", locks=len(due), error=str(error))
            for held in due:
                held.due = loop.time() + min(AGAIN, held.ttl / 10)
            return
        for held, is_kept in zip(due, kept, strict=True):
            if held in self._held:
                if is_kept:
                    self._keep(held, asked)
                else:
                    self._lose(held)

    def _keep(self, held: Held, asked: float) -> None:
        """It is ours for its life from when we asked: Redis counts from a later moment."""
        if held.timer is not None:
            held.timer.cancel()
        held.due = asked + held.ttl / 3
        held.timer = asyncio.get_running_loop().call_at(asked + held.ttl, self._lose, held)

    def _lose(self, held: Held) -> None:
        self._forget(held)
        _log.warning("a job lost a lock", key=held.key, owner=held.value)
        held.lost(held.key)

    def _forget(self, held: Held) -> None:
        self._held.discard(held)
        if held.timer is not None:
            held.timer.cancel()


class JobLocks:
    """What one attempt holds. ``owner`` begins with the job's id; ``lost`` stops the attempt."""

    def __init__(self, locks: Locks, owner: str, lost: Callable[[str], None]) -> None:
        self._locks = locks
        self._owner = owner
        self._lost = lost
        self._mine: set[Held] = set()

    async def acquire(self, key: str, ttl: float) -> Held:
        """See :meth:`Locks.acquire`; BadRequest for what is no lock's key or life."""
        check_lock_key(key)
        if not SHORTEST_TTL <= ttl <= LONGEST_TTL:
            raise BadRequest(
                f"expected the ttl of a lock in seconds from {SHORTEST_TTL} to {LONGEST_TTL:.0f}, got {ttl}"
            )
        held = await self._locks.acquire(key, self._owner, ttl, self._lost)
        self._mine.add(held)
        return held

    async def release(self, held: Held) -> None:
        self._mine.discard(held)
        await self._locks.release(held)

    @asynccontextmanager
    async def hold(self, key: str, ttl: float) -> AsyncIterator[None]:
        held = await self.acquire(key, ttl)
        try:
            yield
        finally:
            await self.release(held)

    def release_all(self) -> None:
        """The handler has ended: what it took and did not give back goes back in the background."""
        for held in self._mine:
            self._locks.release_soon(held)
        self._mine.clear()
