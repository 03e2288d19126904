"""What may not be lost is offered to Redis for a while."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from jobcast.shared.errors import Unavailable
from jobcast.shared.supervise import jittered

PATIENCE: Final = 60.0
"""Seconds for which what may not be lost is offered to a Redis that is away."""

T = TypeVar("T")


async def surely(call: Callable[[], Awaitable[T]]) -> T:
    """The call's answer; while Redis is away it is made again, for ``PATIENCE`` seconds at most."""
    deadline = time.monotonic() + PATIENCE
    failures = 0
    while True:
        try:
            return await call()
        except Unavailable:
            failures += 1
            pause = jittered(failures)
            if time.monotonic() + pause > deadline:
                raise
        await asyncio.sleep(pause)
