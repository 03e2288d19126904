"""What every soak shares: a Redis and a gateway of its own, figures with their bounds, and an exit code."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import uvloop

from jobcast.gateway.engine.serving import raise_descriptor_limit
from tests.gateway.support import GatewayProcess, until_ready
from tests.support.parts import find_redis
from tests.support.redis_server import RedisServer

NO_REDIS: Final = 2


@dataclass(frozen=True)
class Stage:
    """A gateway alone in its process, and where its Redis is."""

    redis_url: str
    gateway: GatewayProcess


@contextlib.asynccontextmanager
async def stage(env: Mapping[str, str] | None = None) -> AsyncIterator[Stage]:
    """Both started, and ended afterwards; what the gateway logged as an error fails the soak."""
    binary = find_redis()
    if binary is None:
        print("there is no redis-server on this machine", file=sys.stderr)
        sys.exit(NO_REDIS)
    server = RedisServer(binary)
    try:
        server.start()
        with GatewayProcess(server.url, env) as gateway:
            await until_ready(gateway)
            yield Stage(server.url, gateway)
            gateway.check_log()
    finally:
        server.close()


class Figures:
    """What was measured, said beside what is promised."""

    def __init__(self) -> None:
        self.well = True

    def at_most(self, what: str, seen: float, bound: float, unit: str = "") -> None:
        self.holds(f"{what}: {seen:.4g} {unit}".rstrip() + f" (at most {bound:g})", seen <= bound)

    def holds(self, what: str, well: bool) -> None:
        print(f"{'ok  ' if well else 'NOT '} {what}", flush=True)
        self.well = self.well and well


class Spell:
    """Times of a while, sorted, in seconds; said in milliseconds."""

    def __init__(self, took: Sequence[float]) -> None:
        self.number = len(took)
        self.p50, self.p99, self.longest = (
            took[min(self.number - 1, int(self.number * part))] * 1000 for part in (0.5, 0.99, 1)
        )

    def __str__(self) -> str:
        return f"p50 {self.p50:.1f} ms, p99 {self.p99:.1f} ms, at most {self.longest:.1f} ms, of {self.number}"


def run(soak: Coroutine[Any, Any, bool]) -> None:
    """Run it on the loop that costs the measuring side least, and exit: 0 when it went well."""
    # As Ctrl-C: the Redis and the gateway are ended too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    raise_descriptor_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.exit(0 if runner.run(soak) else 1)
