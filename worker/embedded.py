"""A worker inside a program of your own, which has its own start, its own signals and other things to do.

    async with Worker(registry, redis_url="redis://127.0.0.1:6379") as worker:
        await until_told_to_stop()

``jobcast worker`` is the same in a process of its own.
"""

import asyncio
import os
from types import TracebackType
from typing import Self

from jobcast.shared.errors import NotPossible
from jobcast.shared.settings import PREFIX, load
from jobcast.worker.registry import Registry
from jobcast.worker.service import Service


class Worker:
    """Works for the queues of a registry, on the loop that starts it. Handlers that block need plain functions.

    ``concurrency``: jobs at once, for queues that do not say. ``drain``: seconds :meth:`stop` waits for what is in
    hand. What is not given has the settings of the environment.

    Raises:
        BadSettings: a value of the wrong kind, or a registry without any handler.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        redis_url: str | None = None,
        concurrency: int | None = None,
        drain: float | None = None,
    ) -> None:
        given = {"REDIS_URL": redis_url, "CONCURRENCY": concurrency, "DRAIN": drain}
        said = {f"{PREFIX}{name}": str(value) for name, value in given.items() if value is not None}
        self._settings = load({**os.environ, **said})
        self._registry = registry
        self._ready = asyncio.Event()
        self._service = Service(self._settings, registry)
        self._running: asyncio.Task[None] | None = None
        self._stopping = False

    async def start(self) -> None:
        """Return once jobs are taken: as soon as Redis answers. Started twice is started once.

        It waits for Redis as long as that is away; ``asyncio.timeout`` bounds it.

        Raises:
            NotPossible: it was stopped; make another one.
            what ended the worker, if it ended before it was ready.
        """
        if self._running is None:
            self._running = asyncio.create_task(self._service.serve(self._ready.set), name="jobcast worker")
        ready = asyncio.create_task(self._ready.wait())
        try:
            await asyncio.wait({ready, self._running}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        if self._running.done():
            self._running.result()
            raise NotPossible("this worker was stopped; make another one to go on")

    async def wait(self) -> None:
        """Return when the worker has ended; raises what ended it, if that was not :meth:`stop`."""
        if self._running is not None:
            await asyncio.shield(self._running)

    async def stop(self) -> None:
        """Take no more jobs, finish what is in hand and return; what is not done in time is put back in its queue."""
        if self._running is None:
            return
        if not self._stopping:
            self._stopping = True  # asked twice, the service would end at once
            self._service.stop()
        await self.wait()

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except asyncio.CancelledError:
            await self.stop()  # a block that was not entered is not left: nobody else would
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
