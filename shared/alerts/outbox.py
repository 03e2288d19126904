"""The outbox of alerts, in Redis: what was raised stays until it is delivered, whoever dies meanwhile."""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from redis.asyncio import Redis

from jobcast.shared import logs
from jobcast.shared.alerts.alert import Alert
from jobcast.shared.clock import now_ms
from jobcast.shared.details import plain
from jobcast.shared.keys import Keys
from jobcast.shared.redis import unavailable

WINDOW: Final = 300.0
"""Seconds within which the same kind and key is the same alert."""
MOST: Final = 1000
"""Alerts that wait to be delivered. Beyond, new ones are refused, logged and counted: the first tell the cause."""
LONGEST_TEXT: Final = 2000

# Due to the microsecond, so that of one millisecond the first goes first.
# Counted on after it was delivered, an alert's repeats would be lost: the next alert of its key carries them.
_RAISE: Final = """
local due, body, counts, recent, lost = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local was = redis.call('HMGET', recent, 'id', 'until', 'count', 'told')
local pending = was[1] and redis.call('HEXISTS', body, was[1]) == 1
if was[1] and now < tonumber(was[2]) then
  local count = redis.call('HINCRBY', recent, 'count', 1)
  if pending then redis.call('HSET', counts, was[1], count) end
  return {'again', was[1]}
end
if redis.call('ZCARD', due) >= tonumber(ARGV[4]) then
  redis.call('INCR', lost)
  return {'full', ''}
end
local count = 1
if was[1] and not pending then count = 1 + math.max(0, tonumber(was[3]) - tonumber(was[4])) end
redis.call('HSET', body, ARGV[1], ARGV[2])
redis.call('HSET', counts, ARGV[1], count)
redis.call('ZADD', due, string.format('%.3f', now), ARGV[1])
redis.call('HSET', recent, 'id', ARGV[1], 'until', string.format('%d', now + ARGV[3]), 'count', count, 'told', 0)
redis.call('PEXPIRE', recent, 12 * ARGV[3])
return {'fresh', ARGV[1]}
"""
_DUE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local found = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.3f', now), 'LIMIT', 0, ARGV[1])) do
  local body = redis.call('HGET', KEYS[2], id)
  if body then
    local count, tries = redis.call('HGET', KEYS[3], id) or '1', redis.call('HGET', KEYS[4], id) or '0'
    found[#found + 1] = {body, count, tries}
  else
    redis.call('ZREM', KEYS[1], id)
  end
end
return found
"""
_DONE: Final = """
redis.call('ZREM', KEYS[1], ARGV[1])
for i = 2, 4 do redis.call('HDEL', KEYS[i], ARGV[1]) end
if redis.call('HGET', KEYS[5], 'id') == ARGV[1] then redis.call('HSET', KEYS[5], 'told', ARGV[2]) end
"""
_LATER: Final = """
local time = redis.call('TIME')
redis.call('HINCRBY', KEYS[2], ARGV[1], 1)
redis.call('ZADD', KEYS[1], 'XX', string.format('%d', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2]), ARGV[1])
"""

_log = logs.get("alerts")


@dataclass(frozen=True, slots=True)
class Pending:
    """An alert whose time has come; ``tries`` to deliver it have failed."""

    alert: Alert
    tries: int


class Outbox:
    """Raises ``Unavailable`` when Redis is away. ``window`` in seconds."""

    def __init__(self, client: Redis, keys: Keys, *, window: float = WINDOW, most: int = MOST) -> None:
        self._client = client
        self._keys = keys
        self._window = round(window * 1000)
        self._most = most
        self._raise = client.register_script(_RAISE)
        self._due = client.register_script(_DUE)
        self._done = client.register_script(_DONE)
        self._later = client.register_script(_LATER)

    async def raise_alert(
        self, kind: str, key: str, *, queue: str, text: str, details: Mapping[str, Any] | None = None
    ) -> str | None:
        """Have it delivered, once at least. Returns its id, that of an earlier one of the same kind and key within the
        window, or None when the outbox is full.
        """
        shown = {name: plain(value) for name, value in (details or {}).items()}
        alert = Alert(
            id=secrets.token_hex(10),
            kind=kind,
            key=key,
            queue=queue,
            text=plain(text[:LONGEST_TEXT]),
            details=shown,
            at=now_ms(),
        )
        keys = [self._name(part) for part in ("due", "body", "counts")]
        with unavailable():
            said, found = await self._raise(
                keys=[*keys, self._recent(alert), self._name("lost")],
                args=[alert.id, msgspec.json.encode(alert), self._window, self._most],
            )
        if said == b"full":
            _log.error("an alert was lost: the outbox is full", kind=kind, key=key, queue=queue, text=alert.text)
            return None
        return str(found.decode())

    async def due(self, limit: int) -> list[Pending]:
        """What is to be delivered now, the longest due first."""
        keys = [self._name(part) for part in ("due", "body", "counts", "tries")]
        with unavailable():
            found = await self._due(keys=keys, args=[limit])
        pending = []
        for body, count, tries in found:
            alert = msgspec.json.decode(body, type=Alert)
            pending.append(Pending(msgspec.structs.replace(alert, count=int(count)), int(tries)))
        return pending

    async def done(self, alert: Alert) -> None:
        """It was taken, with this count."""
        keys = [self._name(part) for part in ("due", "body", "counts", "tries")]
        with unavailable():
            await self._done(keys=[*keys, self._recent(alert)], args=[alert.id, alert.count])

    async def later(self, alert: Alert, delay: float) -> None:
        """It was not taken; it is due again in ``delay`` seconds."""
        with unavailable():
            await self._later(keys=[self._name("due"), self._name("tries")], args=[alert.id, round(delay * 1000)])

    async def lost(self) -> int:
        """How many were refused since ever."""
        with unavailable():
            return int(await self._client.get(self._name("lost")) or 0)

    def _name(self, part: str) -> str:
        return self._keys.alerts(part)

    def _recent(self, alert: Alert) -> str:
        # A key may be any text, and a name in Redis should not.
        digest = hashlib.sha256(f"{alert.kind} {alert.key}".encode()).hexdigest()[:24]
        return self._name(f"recent:{digest}")
