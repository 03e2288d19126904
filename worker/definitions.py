"""How this worker works its queues, told to everybody at its start: producers, gateways and the command line."""

import asyncio
from collections.abc import Sequence

from jobcast.shared.definitions import Definitions, QueueWords
from jobcast.shared.supervise import supervise
from jobcast.worker.queues import QueueDefinition
from jobcast.worker.registry import Registry


def words(queues: Sequence[QueueDefinition], registry: Registry, timeout: float) -> dict[str, QueueWords]:
    """By queue; ``timeout`` in seconds, of handlers that have none of their own."""
    told: dict[str, QueueWords] = {}
    for each in queues:
        handlers = {name: registry.find(each.name, name) for name in registry.names(each.name)}
        told[each.name] = each.words({name: (found and found.timeout) or timeout for name, found in handlers.items()})
    return told


async def tell(definitions: Definitions, said: dict[str, QueueWords], worker: str) -> None:
    """Write them into Redis, however long it takes: it may be away, and the worker waits for nothing of this."""
    left, done = list(said.items()), asyncio.Event()

    async def step() -> None:
        if left:
            await definitions.write(*left[0], worker=worker)
            left.pop(0)
        else:
            done.set()

    await supervise("tell definitions", step, done)
