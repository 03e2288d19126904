"""BullMQ's own Python worker, as its manual starts it; hiredis is installed, which redis-py then uses."""

import asyncio
import os
from typing import Any

from bullmq import Worker


async def noop(_job: Any, _token: str) -> None:
    pass


async def main() -> None:
    url, concurrency = os.environ["BENCH_REDIS_URL"], int(os.environ["BENCH_CONCURRENCY"])
    worker = Worker("bench", noop, {"connection": url, "concurrency": concurrency})
    await asyncio.Event().wait()
    await worker.close()


asyncio.run(main())
