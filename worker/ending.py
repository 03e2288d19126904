"""How a worker's process ends: what is in hand, its connections, the tasks that would not."""

import asyncio
from typing import Any, Final

from redis.asyncio import Redis

from jobcast.shared import logs
from jobcast.worker.consumer import Consumer

LEFT_BEHIND: Final = 1.0
"""Seconds for what does not end by itself."""

_log = logs.get("worker")


async def finished(consumers: list[Consumer], at_once: asyncio.Event, timeout: float) -> None:
    """Wait until no job is in hand, the event, or the time."""
    deadline = asyncio.get_running_loop().time() + timeout
    hurry = asyncio.create_task(at_once.wait())
    try:
        while busy := {task for consumer in consumers for task in consumer.busy}:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0 or hurry.done():
                return
            await asyncio.wait({*busy, hurry}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
    finally:
        hurry.cancel()


async def close(*clients: Redis) -> None:
    for client in clients:
        try:
            await asyncio.wait_for(client.aclose(), LEFT_BEHIND)
        except Exception as error:  # noqa: BLE001  the process ends, whatever its connections say
            _log.debug("a connection did not close", error=repr(error))


def end_what_is_left(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel the tasks that are left, and wait no longer than a moment: a handler may refuse to be cancelled."""
    left: set[asyncio.Task[Any]] = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left, timeout=LEFT_BEHIND))
    for task in left:
        if not task.done():
            _log.error("a handler would not be stopped; it ends with the process", task=task.get_name())
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001  said above, in our words
