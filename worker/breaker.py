"""The circuit breaker of a queue: after failures in a row no job is taken until a probe has shown that it works again.

Closed: jobs are taken. Open: none is, over all workers of the queue; those in hand go on, the others wait, and nothing
is lost. Once the cool-down is over it is half-open: one job at a time is taken, the probe. Its success closes the
circuit, its failure opens it for twice as long, up to a bound. A worker that dies with the probe loses it in time.

It counts failures in a row, not their share: what a breaker is for is a dependency that is gone, which fails every job,
at ten an hour as well as at a thousand a second. A share needs a window, and a least number in it under which a quiet
queue never opens; and a dependency that fails half of the jobs still serves the other half, which back-off is for.

The state is Redis', and so is the clock: workers disagree about the time. Every take asks it, in one round trip, which
a queue without a breaker does not pay. Between that answer and the take another worker's failure may open the circuit:
so many jobs more than one may be taken as workers are in that gap.
"""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from jobcast.shared import logs
from jobcast.shared.circuit_words import QUEUE_CIRCUIT
from jobcast.shared.errors import BadSettings
from jobcast.shared.keys import Keys
from jobcast.shared.redis import unavailable
from jobcast.worker.values import cut

NOT_COUNTED: Final = frozenset(
    {
        "bad-data",
        "unrecoverable",
        "unknown-handler",
        "bad-result",
        "refused",
        "lock-lost",
        "retry-after",
        "rate-limited",
        "deferred",
        "unavailable",
    }
)
"""Kinds of failure (see ``classify``) that are the job's own fault, or say that a service works and is busy, or that
Redis does not: they say nothing of what the queue depends on."""
LONGEST_REASON: Final = 500

# How each change is recorded and told. TIME alone may stand still between two changes; who reads them goes by it.
_CHANGE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function change(state, wait, reason)
  local at = math.max(now, 1 + (tonumber(redis.call('HGET', KEYS[1], 'timestamp') or '') or 0))
  local number = function(value) return string.format('%.0f', value) end
  redis.call('HSET', KEYS[1], 'state', state, 'timestamp', number(at), 'reason', reason)
  redis.call('HDEL', KEYS[1], 'probe', 'probe-until', 'failures')
  local said = ''
  if state == 'open' then
    redis.call('HSET', KEYS[1], 'until', number(now + wait))
    -- Owed an alert, as a job that failed for good is: see append.lua.
    redis.call('RPUSH', KEYS[3], 'circuit-open ' .. ARGV[1] .. ' 0 -')
    redis.call('LTRIM', KEYS[3], -10000, -1)
    if redis.call('PTTL', KEYS[3]) < 86400000 then redis.call('PEXPIRE', KEYS[3], 86400000) end
    said = '"until":' .. number(now + wait) .. ','
  else
    redis.call('HDEL', KEYS[1], 'until')
  end
  redis.call('PEXPIRE', KEYS[1], wait + 86400000)
  redis.call('PUBLISH', KEYS[2], '["queue-circuit",{"queueName":' .. cjson.encode(ARGV[1]) .. ',"state":"' .. state ..
    '","timestamp":' .. number(at) .. ',' .. said .. '"reason":' .. cjson.encode(reason) .. '}]')
end
"""
_ENTER: Final = (
    _CHANGE
    + """
local token, life, changed = ARGV[2], tonumber(ARGV[3]), 0
local state, ends, probe, probe_ends, reason =
  unpack(redis.call('HMGET', KEYS[1], 'state', 'until', 'probe', 'probe-until', 'reason'))
if state ~= 'open' and state ~= 'half-open' then return {'closed', 0} end
if state == 'open' then
  local left = tonumber(ends or '0') - now
  if left > 0 then return {'open', left} end
  change('half-open', 0, reason or '')
  changed = 1
elseif probe then
  local left = tonumber(probe_ends) - now
  if left > 0 then return {'half-open', left} end
end
redis.call('HSET', KEYS[1], 'probe', token, 'probe-until', string.format('%.0f', now + life))
redis.call('PEXPIRE', KEYS[1], life + 86400000)
return {'probe', changed}
"""
)
_REPORT: Final = (
    _CHANGE
    + """
local token, outcome, most, reason = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local wait, longest = tonumber(ARGV[6]), tonumber(ARGV[7])
local state, probe, openings = unpack(redis.call('HMGET', KEYS[1], 'state', 'probe', 'openings'))
if state ~= 'open' and state ~= 'half-open' then
  if outcome == 'success' then redis.call('HDEL', KEYS[1], 'failures') end
  if outcome ~= 'failure' then return '' end
  local failures = redis.call('HINCRBY', KEYS[1], 'failures', 1)
  redis.call('PEXPIRE', KEYS[1], 86400000)
  if failures < most then return '' end
  redis.call('HSET', KEYS[1], 'openings', 1)
  change('open', wait, failures .. ' failures in a row; the last: ' .. reason)
  return 'open'
end
if state ~= 'half-open' or probe ~= token then return '' end
if outcome == 'success' then
  redis.call('HDEL', KEYS[1], 'openings')
  change('closed', 0, 'the probe succeeded')
  return 'closed'
elseif outcome == 'failure' then
  openings = tonumber(openings or '1')
  redis.call('HSET', KEYS[1], 'openings', openings + 1)
  change('open', math.min(wait * 2 ^ math.min(openings, 32), longest), 'the probe failed: ' .. reason)
  return 'open'
end
redis.call('HDEL', KEYS[1], 'probe', 'probe-until')
return ''
"""
)
_HOLD: Final = """
local time = redis.call('TIME')
if redis.call('HGET', KEYS[1], 'probe') ~= ARGV[1] then return 0 end
local ends = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2]
redis.call('HSET', KEYS[1], 'probe-until', string.format('%.0f', ends))
return 1
"""

_log = logs.get("breaker")
Outcome = Literal["success", "failure", "none"]


@dataclass(frozen=True, slots=True)
class Breaker:
    """Opens after ``failures`` in a row, for ``cooldown`` seconds; each further time for twice as long, to ``longest``.

    ``not_counted``: kinds of failure (see ``classify``) that neither add to the row nor judge a probe.

    Raises:
        BadSettings: a number out of its range.
    """

    failures: int = 5
    cooldown: float = 30.0
    longest: float = 600.0
    not_counted: frozenset[str] = NOT_COUNTED

    def __post_init__(self) -> None:
        if not 1 <= self.failures <= 10_000:
            raise BadSettings(f"expected failures of a breaker from 1 to 10000, got {self.failures}")
        if not 0 < self.cooldown <= self.longest <= 24 * 3600:
            raise BadSettings(
                f"expected a breaker's cooldown above 0 and at most its longest, that at most a day, "
                f"got {self.cooldown} and {self.longest} s"
            )


class Entry(NamedTuple):
    """Whether a job may be taken; if not, after how many seconds to ask again at the latest. ``probe``: this is one."""

    may_take: bool
    wait: float = 0.0
    probe: bool = False


class Guard:
    """One queue's circuit, from a worker. ``life``: seconds for which a probe is ours unless it is held again."""

    def __init__(self, client: Redis, keys: Keys, queue: str, breaker: Breaker, life: float) -> None:
        self._queue = queue
        self._breaker = breaker
        self._life = round(life * 1000)
        self._keys = [keys.queue_circuit(queue), keys.queue_channel(queue), keys.troubles()]
        self._enter = client.register_script(_ENTER)
        self._report = client.register_script(_REPORT)
        self._hold = client.register_script(_HOLD)
        self._probe: str | None = None

    async def enter(self, token: str) -> Entry:
        """Ask whether a job may be taken under this token. Raises ``Unavailable``."""
        try:
            with unavailable():
                word, left = await self._enter(keys=self._keys, args=[self._queue, token, self._life])
        except ResponseError as error:
            # Spoilt by hand. A breaker that cannot tell must not be what stops the queue.
            _log.warning("a breaker's record cannot be read; jobs are taken", queue=self._queue, error=str(error))
            return Entry(may_take=True)
        if word == b"closed":
            return Entry(may_take=True)
        if word == b"probe":
            self._probe = token
            if left:
                _log.info("the circuit is half-open: one job is taken", queue=self._queue, event_name=QUEUE_CIRCUIT)
            return Entry(may_take=True, probe=True)
        return Entry(may_take=False, wait=left / 1000)

    async def report(self, token: str, outcome: Outcome, error: str = "") -> None:
        """Say what became of what was taken under this token; ``none`` when it says nothing, or nothing was taken.

        While Redis is away it is not said: that is no failure, and a probe nobody spoke of ends by its time.
        """
        if outcome == "none" and token != self._probe:
            return
        breaker = self._breaker
        args: list[str | int] = [
            self._queue,
            token,
            outcome,
            breaker.failures,
            cut(error, LONGEST_REASON),
            round(breaker.cooldown * 1000),
            round(breaker.longest * 1000),
        ]
        try:
            with unavailable():
                word = (await self._report(keys=self._keys, args=args)).decode()
        except Exception as away:  # noqa: BLE001  whatever a breaker's record has become, the next job is taken
            _log.warning("what became of a job was not said to its breaker", queue=self._queue, error=repr(away))
            return
        finally:
            if token == self._probe:
                self._probe = None
        if word:
            self._say(word, error)

    async def hold(self) -> None:
        """Keep the probe, if we have it, for another ``life``. Raises ``Unavailable``."""
        if self._probe is not None:
            with unavailable():
                await self._hold(keys=self._keys[:1], args=[self._probe, self._life])

    def _say(self, state: str, error: str) -> None:
        if state == "closed":
            _log.warning("the circuit is closed: jobs are taken again", queue=self._queue, event_name=QUEUE_CIRCUIT)
            return
        _log.error("the circuit is open: no job is taken", queue=self._queue, event_name=QUEUE_CIRCUIT, error=error)
