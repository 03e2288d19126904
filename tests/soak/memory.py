"""Redis runs out of memory again and again while jobs are appended to, submitted, cancelled and tried again.

``python -m tests.soak.memory [--seed 7] [--seconds 60]``. Whoever asks is told a typed error, or it is recorded: every
answer is noted, and in the end each "ok" is held to the record and to the queue.
"""

import argparse
import asyncio
import random
import sys
from pathlib import Path
from typing import Final

import redis

from tests.gateway.support import GatewayProcess, until_ready
from tests.shared.bullmq import Site, open_site
from tests.soak.stage import NO_REDIS, Figures, run
from tests.soak.told_no import Appending, Asking, Notes, compare, compare_appends
from tests.support.parts import find_redis
from tests.support.redis_server import RedisServer

APPENDERS: Final = 4
SUBMITTERS: Final = 2
FINISHED: Final = 60
"""Jobs that have failed before it begins, to be tried again."""
LEFT: Final = 120_000
"""Bytes that are left at most when memory is made scarce: a few events."""
SCARCE: Final = (0.05, 0.3)
PLENTY: Final = (0.02, 0.15)


async def squeeze(behind: redis.Redis, chance: random.Random, seconds: float) -> None:
    """Make memory scarce and plenty by turns."""
    end = asyncio.get_running_loop().time() + seconds
    try:
        while asyncio.get_running_loop().time() < end:
            used = int(behind.info("memory")["used_memory"])
            behind.config_set("maxmemory", used + chance.randrange(-LEFT // 10, LEFT))
            await asyncio.sleep(chance.uniform(*SCARCE))
            behind.config_set("maxmemory", 0)
            await asyncio.sleep(chance.uniform(*PLENTY))
    finally:
        behind.config_set("maxmemory", 0)


async def finished_jobs(site: Site) -> list[str]:
    """Jobs that have failed, in BullMQ and in the record."""
    found = []
    for number in range(FINISHED):
        job_id = (await site.queues.submit("films", "encode", {"number": number})).job_id
        await site.fail(job_id)
        found.append(job_id)
    return found


async def soak(binary: Path, seed: int, seconds: float) -> Notes:
    """Start a Redis and a gateway, squeeze, and compare."""
    chance, notes, server = random.Random(seed), Notes(), RedisServer(binary)
    try:
        server.start()
        with GatewayProcess(server.url) as gateway, server.client() as behind:
            await until_ready(gateway)
            async with open_site(server.url, behind) as site:
                await _ask(site, gateway, chance, notes, seconds)
                await compare(site, notes)
            gateway.check_log()
    finally:
        server.close()
    return notes


async def _ask(site: Site, gateway: GatewayProcess, chance: random.Random, notes: Notes, seconds: float) -> None:
    finished = await finished_jobs(site)
    appending = [Appending(site.journal, f"plain-{number}", random.Random(chance.random()), notes)
                 for number in range(APPENDERS)]  # fmt: skip
    async with Asking(gateway.url, chance, notes) as asking:
        tasks = [asyncio.create_task(each.go_on()) for each in appending]
        tasks += [asyncio.create_task(asking.submit()) for _ in range(SUBMITTERS)]
        tasks += [asyncio.create_task(asking.cancel()), asyncio.create_task(asking.retry(finished))]
        try:
            await squeeze(site.behind, chance, seconds)
        finally:
            notes.over = True
            await asyncio.gather(*tasks)
        await asking.ask_again()
    for each in appending:
        await compare_appends(site.journal, each, notes)


async def main(seed: int, seconds: float, binary: Path) -> bool:
    command = f'make soak SCENARIO=memory ARGS="--seed {seed} --seconds {seconds:g}"'
    print(f"to repeat: {command}", flush=True)
    notes, figures = await soak(binary, seed, seconds), Figures()
    for what in ("append", "submit", "cancel", "retry"):
        yes, no = notes.yes[what], notes.no[what]
        figures.holds(f"{what}: {yes} times ok, {no} times unavailable", yes > 0 and no > 0)
    print(f"{notes.doubtful} jobs are queued whose producer was told unavailable: it may ask again")
    print(f"{notes.stranded} jobs were taken from their queue by a cancel that was told unavailable")
    figures.at_most("an ok without its record, or an answer of another kind", len(notes.violations), 0)
    for sentence in notes.violations[:20]:
        print(f"     {sentence}")
    print(f"to repeat: {command}")
    return figures.well


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--seconds", type=float, default=60.0)
    asked = parser.parse_args()
    found = find_redis()
    if found is None:
        print("there is no redis-server on this machine", file=sys.stderr)
        sys.exit(NO_REDIS)
    run(main(asked.seed, asked.seconds, found))
