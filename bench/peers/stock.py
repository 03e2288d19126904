"""python-socketio as its documentation scales it: rooms, and AsyncRedisManager to emit from outside."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator

import socketio
import uvicorn
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from starlette.applications import Starlette

URL = os.environ["BENCH_REDIS_URL"]
sio = socketio.AsyncServer(async_mode="asgi", client_manager=socketio.AsyncRedisManager(URL), cors_allowed_origins="*")
outside = socketio.AsyncRedisManager(URL, write_only=True)
followed: set[str] = set()


class Bridge:
    """Follows the channels that have a room, and emits to it from outside."""

    pubsub: PubSub

    async def run(self) -> None:
        async with Redis.from_url(URL) as redis, redis.pubsub() as self.pubsub:
            await self.pubsub.subscribe("bench-nothing")
            async for message in self.pubsub.listen():
                if message["type"] == "message":
                    name, payload = json.loads(message["data"])
                    await outside.emit(name, payload, room=message["channel"].decode())


bridge = Bridge()


async def enter(sid: str, kind: str, target: str, channel: str) -> dict[str, bool]:
    await sio.enter_room(sid, channel)
    if channel not in followed:
        followed.add(channel)
        await bridge.pubsub.subscribe(channel)
    success = {"type": kind, "target": target, "message": f"subscribed to {kind} {target}"}
    await sio.emit("subscription-success", success, to=sid)
    return {"ok": True}


@sio.on("subscribe-to-job")  # type: ignore[untyped-decorator]
async def subscribe_to_job(sid: str, data: dict[str, str]) -> dict[str, bool]:
    return await enter(sid, "job", data["jobId"], f"jobcast:{{{data['jobId']}}}")


@sio.on("subscribe-to-queue")  # type: ignore[untyped-decorator]
async def subscribe_to_queue(sid: str, data: dict[str, str]) -> dict[str, bool]:
    return await enter(sid, "queue", data["queueName"], f"jobcast:queue:{{{data['queueName']}}}")


@contextlib.asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[None]:
    task = asyncio.create_task(bridge.run())
    yield
    task.cancel()


app = socketio.ASGIApp(sio, Starlette(lifespan=lifespan))
uvicorn.run(app, port=int(os.environ["BENCH_PORT"]), loop="uvloop", log_level="warning")
