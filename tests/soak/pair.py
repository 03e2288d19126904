"""A Redis and two gateways that may be killed, stopped and started again at the same addresses."""

import asyncio
import contextlib
import random
import shutil
import signal
from collections.abc import AsyncIterator, Coroutine, Mapping
from pathlib import Path
from typing import Any, Final

from tests.gateway.support import GatewayProcess, until_ready
from tests.soak.proxy import Proxy, proxy
from tests.support.redis_server import RedisServer
from tests.support.waiting import free_port

DRAIN: Final = 2.0
CONFIG: Final = {
    # Whatever was told must have been recorded: with everysec a power cut takes the last second back.
    "appendfsync": "always",
    # A gateway that stands still overflows this within seconds.
    "client-output-buffer-limit": "pubsub 256kb 64kb 1",
}
ENVIRONMENT: Final = {"JOBCAST_DRAIN": str(DRAIN)}


class Pair:
    """``complaints`` is what a gateway did that none may do: logged an error, or did not end when it was asked to.

    With a ``link`` the gateways reach Redis through it, and everybody else directly.
    """

    def __init__(self, redis: RedisServer, link: Proxy | None, environment: Mapping[str, str]) -> None:
        self.redis = redis
        self.link = link
        self._environment = {**ENVIRONMENT, **environment}
        self.gateways = [self._gateway() for _ in range(2)]
        self.complaints: list[str] = []
        self.losses = 0
        """Times a gateway lost its feed."""
        self._repairs: set[asyncio.Task[None]] = set()

    @property
    def urls(self) -> list[str]:
        return [gateway.url for gateway in self.gateways]

    def _gateway(self, port: int = 0) -> GatewayProcess:
        url = self.redis.url if self.link is None else f"redis://127.0.0.1:{self.link.port}/0"
        return GatewayProcess(url, self._environment, port=port)

    async def ready(self) -> None:
        for gateway in self.gateways:
            await until_ready(gateway)

    async def start_redis(self, *, empty: bool) -> None:
        """After a kill; returns when it accepts again."""
        if empty:
            for file in self.redis.directory.glob("appendonly*"):
                await asyncio.to_thread(_remove, file)
        await asyncio.to_thread(self.redis.start)

    def replace_gateway(self, number: int) -> None:
        """Start another one where this one ended; who waits for it calls :meth:`repaired`."""
        old = self.gateways[number]
        self._look_at(old)
        old.close()
        self.gateways[number] = self._gateway(old.port)
        self._later(until_ready(self.gateways[number]))

    async def end_gateway(self, number: int) -> None:
        """Ask it to end, as a rolling restart does, and hold it to the time it has."""
        gateway, loop = self.gateways[number], asyncio.get_running_loop()
        start = loop.time()
        gateway.signal(signal.SIGTERM)
        try:
            code = await gateway.exited(DRAIN + 5)
        except AssertionError:
            self.complaints.append(f"a gateway was still there {DRAIN + 5:g} s after SIGTERM")
            gateway.kill()
            return
        took = loop.time() - start
        if code != 0 or took > DRAIN + 1.5:
            self.complaints.append(f"a gateway ended {took:.1f} s after SIGTERM with exit code {code}")

    async def repaired(self) -> None:
        """Everything that was started again serves."""
        for task in list(self._repairs):
            await task

    def _later(self, repair: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(repair)
        self._repairs.add(task)
        task.add_done_callback(self._repairs.discard)

    def _look_at(self, gateway: GatewayProcess) -> None:
        self.losses += gateway.stderr.count("the feed from Redis was lost")
        try:
            gateway.check_log()
        except AssertionError as error:
            self.complaints.append(f"a gateway logged an error: {str(error)[:6000]}")

    async def close(self) -> None:
        for task in list(self._repairs):
            task.cancel()
        await asyncio.gather(*self._repairs, return_exceptions=True)
        for gateway in self.gateways:
            self._look_at(gateway)
        await asyncio.gather(*(asyncio.to_thread(gateway.close) for gateway in self.gateways))


def _remove(file: Path) -> None:
    if file.is_dir():
        shutil.rmtree(file)
    else:
        file.unlink()


@contextlib.asynccontextmanager
async def pair(
    binary: Path,
    *,
    config: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    linked: bool = False,
) -> AsyncIterator[Pair]:
    """Both gateways ready; everything is ended afterwards, and ``complaints`` are whole then."""
    redis = RedisServer(binary, appendonly=True, config={**CONFIG, **(config or {})})
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(redis.close)
        await asyncio.to_thread(redis.start)
        between = proxy([redis.port], free_port(), random.Random(redis.port))
        link = await stack.enter_async_context(between) if linked else None
        found = Pair(redis, link, environment or {})
        stack.push_async_callback(found.close)
        await found.ready()
        yield found
