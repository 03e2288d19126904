"""What teams write by hand: one pattern for all channels, and for each event a look at every client."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from typing import Any

import socketio
import uvicorn
from redis.asyncio import Redis
from starlette.applications import Starlette

sio = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins="*")
watched: dict[str, set[str]] = {}


@sio.event  # type: ignore[untyped-decorator]
async def connect(sid: str, _environ: Any, _auth: Any = None) -> None:
    watched[sid] = set()


@sio.event  # type: ignore[untyped-decorator]
async def disconnect(sid: str, _reason: str = "") -> None:
    watched.pop(sid, None)


async def enter(sid: str, kind: str, target: str, channel: str) -> dict[str, bool]:
    watched[sid].add(channel)
    success = {"type": kind, "target": target, "message": f"subscribed to {kind} {target}"}
    await sio.emit("subscription-success", success, to=sid)
    return {"ok": True}


@sio.on("subscribe-to-job")  # type: ignore[untyped-decorator]
async def subscribe_to_job(sid: str, data: dict[str, str]) -> dict[str, bool]:
    return await enter(sid, "job", data["jobId"], f"jobcast:{{{data['jobId']}}}")


@sio.on("subscribe-to-queue")  # type: ignore[untyped-decorator]
async def subscribe_to_queue(sid: str, data: dict[str, str]) -> dict[str, bool]:
    return await enter(sid, "queue", data["queueName"], f"jobcast:queue:{{{data['queueName']}}}")


async def forward() -> None:
    async with Redis.from_url(os.environ["BENCH_REDIS_URL"]) as redis, redis.pubsub() as pubsub:
        await pubsub.psubscribe("jobcast:*")
        async for message in pubsub.listen():
            if message["type"] != "pmessage":
                continue
            channel = message["channel"].decode()
            name, payload = json.loads(message["data"])
            for sid, channels in list(watched.items()):
                if channel in channels:
                    await sio.emit(name, payload, to=sid)


@contextlib.asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[None]:
    task = asyncio.create_task(forward())
    yield
    task.cancel()


app = socketio.ASGIApp(sio, Starlette(lifespan=lifespan))
uvicorn.run(app, port=int(os.environ["BENCH_PORT"]), loop="uvloop", log_level="warning")
