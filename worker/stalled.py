"""BullMQ's check for jobs whose lock is gone, with a pace of our own and asked only in calm times."""

from typing import Any, Final

from jobcast.shared.clock import now_ms
from jobcast.shared.redis import unavailable

CALM_FOR: Final = 3000
"""Ms for which a look at a calm moment says something, by Redis' clock: far less than a lock lives."""
ALWAYS: Final = 2**53
"""Redis' time of a calm look that never grows old, for who has no watch."""

# In Redis and not before: a check that waited out a Redis that hung, or a machine that stood still, would find every
# lock gone, and take the jobs from those who live and are about to renew them.
_GUARD: Final = """
do
  local time = redis.call('TIME')
  if time[1] * 1000 + math.floor(time[2] / 1000) - tonumber(ARGV[5]) > tonumber(ARGV[6]) then return {} end
end
"""


async def give_back(backend: Any, max_stalled_count: int, spare: int, calm_at: int) -> list[str]:
    """Give back to the queue what lost its lock between the last check and this one; the ids of those jobs.

    Beyond ``max_stalled_count`` stalls a job is made to fail instead. For ``spare`` ms no other check is made.
    ``calm_at``: Redis' time (Unix ms) of the last look that found all as it should be; one too old does nothing.

    Raises:
        Unavailable: Redis is away.
    """
    scripts = backend.scripts
    keys = scripts.getKeys(
        ["stalled", "wait", "active", "stalled-check", "meta", "paused", "marker", "events", "repeat"]
    )
    # The key that spares a check to others who just made one is ours alone: Node's workers hold theirs for 30 s, in
    # which no death would be seen to. BullMQ's ids hold no colon, so that it cannot be a job's.
    keys[3] += ":jobcast"
    guarded = backend.conn.register_script(_GUARD + scripts.commands["moveStalledJobsToWait"].script)
    with unavailable():
        found = await guarded(keys, [max_stalled_count, scripts.keys[""], now_ms(), spare, calm_at, CALM_FOR])
    return list(found or ())
