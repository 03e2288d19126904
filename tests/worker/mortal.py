"""A worker process that may be killed. Its job ``work/go`` ends once Redis holds the key ``end``."""

import sys
from dataclasses import asdict
from typing import Any, Final

import msgspec

from jobcast.shared.vigil import Timing as Watching
from jobcast.worker.consumer import Timing
from tests.support.processes import ChildProcess, clean_environment

_WORK: Final = """
import asyncio, json, os, sys, time
import redis
from jobcast import Context, SyncContext
from jobcast.shared import logs
from jobcast.shared.settings import Settings
from jobcast.shared.vigil import Timing as Watching
from jobcast.worker import app
from jobcast.worker.consumer import Timing
from jobcast.worker.registry import Registry

how = json.loads(sys.argv[1])
logs.configure("info", "json")
registry = Registry()
client = redis.Redis.from_url(how["url"])

async def go(ctx):
    try:
        while not client.get("end"):
            if not how["silent"]:
                await ctx.progress(50)
            await asyncio.sleep(0.1)
    except asyncio.CancelledError:
        print("handler cancelled", flush=True)
        raise
    return ctx.attempt

async def block_loop(ctx):
    time.sleep(3)

def block_thread(ctx):
    time.sleep(3)

for name, handler in (("go", go), ("block-loop", block_loop), ("block-thread", block_thread)):
    registry.add("work", name, handler)
settings = Settings(redis_url=how["url"], concurrency=how["concurrency"], drain=1.0)
service = app.Service(settings, registry, timing=Timing(**how["timing"]), watching=Watching(**how["watching"]))
asyncio.run(app._with_signals(service, None))
"""


class MortalWorker(ChildProcess):
    """``go`` reports every 0.1 s unless it is to be ``silent``; ``block-loop`` and ``block-thread`` block for 3 s."""

    def __init__(
        self,
        url: str,
        *,
        timing: Timing | None = None,
        watching: Watching | None = None,
        concurrency: int = 4,
        silent: bool = False,
    ) -> None:
        how: dict[str, Any] = {
            "url": url,
            "timing": asdict(timing or Timing(lock=20.0, renew=0.4, stalled_check=0.5, idle=1.0)),
            "watching": asdict(watching or Watching(look=0.2, silent=8, calm=4, gap=1.0)),
            "concurrency": concurrency,
            "silent": silent,
        }
        command = [sys.executable, "-c", _WORK, msgspec.json.encode(how).decode()]
        super().__init__(command, env=clean_environment())
