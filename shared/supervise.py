"""Loops that never die in silence: a step that fails is logged and tried again, for ever, until asked to stop."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Final

from jobcast.shared import logs
from jobcast.shared.errors import Unavailable

FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 5.0

_log = logs.get("loops")


async def supervise(what: str, step: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
    """Run ``step`` again and again until ``stop``; between failures wait with a jittered, bounded back-off."""
    failures = 0
    while not stop.is_set():
        try:
            await step()
        except Unavailable as error:
            failures += 1
            _log.warning("Redis is away; trying again", loop=what, failures=failures, error=str(error))
        except Exception as error:  # noqa: BLE001  a loop that dies takes its process with it, unheard
            failures += 1
            _log.exception("a loop failed; trying again", loop=what, failures=failures, error=repr(error))
        else:
            if failures:
                _log.info("works again", loop=what, failures=failures)
            failures = 0
            continue
        await wait_for_event(stop, jittered(failures))


def jittered(failures: int) -> float:
    """Seconds to wait after so many failures in a row."""
    whole = min(FIRST_PAUSE * 2.0 ** min(failures - 1, 16), LONGEST_PAUSE)
    return whole * random.uniform(0.5, 1.0)  # noqa: S311  spreads retries, guards nothing


async def wait_for_event(event: asyncio.Event, timeout: float) -> bool:
    """Whether the event came within so many seconds."""
    # Not wait_for: that of Python 3.11 forgets a cancel that comes together with the event.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout):
            await event.wait()
    return event.is_set()
