"""BullMQ's check for jobs whose lock is gone, with a pace of our own."""

from typing import Any

from jobcast.shared.clock import now_ms
from jobcast.shared.redis import unavailable


async def give_back(backend: Any, max_stalled_count: int, spare: int) -> list[str]:
    """Give back to the queue what lost its lock between the last check and this one; the ids of those jobs.

    Beyond ``max_stalled_count`` stalls a job is made to fail instead. For ``spare`` ms no other check is made.

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
    with unavailable():
        found = await scripts.commands["moveStalledJobsToWait"](
            keys, [max_stalled_count, scripts.keys[""], now_ms(), spare]
        )
    return list(found or ())
