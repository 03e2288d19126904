"""How the queues are worked, and which jobs are made by the clock."""

from dataclasses import replace

from jobcast import (
    COMMON_ERRORS,
    Backoff,
    JobOptions,
    Keep,
    Limiter,
    QueueDefinition,
    Repeat,
    queue,
    schedule,
)

MINUTE = 60_000
DEAD_LETTER = "dead-letter"


def squares(attempts: int, _error: BaseException | None) -> float:
    """Milliseconds until the next attempt: 200, 800, 1800 ... after the 1st, 2nd, 3rd that failed."""
    return 200.0 * attempts**2


# COMMON_ERRORS: 429 is tried again when the limit resets, 401 and 403 never, a lost line and 5xx after the back-off.
# What is none of these (an answer that is no JSON) is logged as unknown and tried again.
PRICES = QueueDefinition(
    "prices",
    attempts=3,
    backoff=Backoff("exponential", delay=1000),
    keep_completed=Keep(count=100),
    keep_failed=Keep(count=1000),
    errors=COMMON_ERRORS,
    dead_letter=DEAD_LETTER,
)
queue(PRICES)
queue(replace(PRICES, name="balances"))
queue(replace(PRICES, name="orders", concurrency=5, attempts=5, backoff=Backoff("exponential", delay=2000), priority=1))
queue(replace(PRICES, name="api-calls", limiter=Limiter(count=10, duration=1000), backoff=squares))
# No letter is written of a notice that failed: the alert about it would be a notice again.
queue(replace(PRICES, name="notifications", dead_letter=None))

schedule(
    "prices",
    "update-all",
    "update-all",
    repeat=Repeat(every=5 * MINUTE),
    opts=JobOptions(remove_on_complete=True, backoff=Backoff("fixed", delay=5000)),
)
schedule("orders", "cleanup", "cleanup", repeat=Repeat(pattern="0 0 * * *"), data={"days": 30})
