"""The jobs of tests/clients/fleet_worker.js as our worker does them, which is named by ``FLEET_WHO``.

``jobcast worker --module tests.e2e.fleet_jobs``. Besides, a job of ours may need another's result: ``data.requires``.
"""

import asyncio
import os
from typing import Any

from redis.asyncio import Redis

from jobcast import Context, Unrecoverable, job

ONCE = "if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 1 then redis.call('INCR', KEYS[2]) end"


async def run(ctx: Context) -> dict[str, Any]:
    data, who = ctx.data or {}, os.environ["FLEET_WHO"]
    async with Redis.from_url(os.environ["JOBCAST_REDIS_URL"]) as notes:
        await notes.rpush("ledger", f"{who} start {ctx.job_id}")
        await notes.eval(ONCE, 2, "effects", "effects:count", ctx.job_id, who)
        while "until" in data and not await notes.exists(data["until"]):
            await ctx.check_cancelled()
            await asyncio.sleep(0.01)
        await asyncio.sleep(data.get("ms", 0) / 1000)
        error = data.get("fails") or (data.get("failsFirst") if ctx.attempt == 1 else None)
        if error:
            raise Unrecoverable(error)
        found = (await ctx.children()).results
        if "requires" in data:
            found = {data["requires"]: await ctx.require(data["requires"])}
        await notes.rpush("ledger", f"{who} end {ctx.job_id}")
    return {"by": who, "children": found}


for queue in ("fleet", "ours"):
    job(queue, "go")(run)
