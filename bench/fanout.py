"""What a delivery costs the gateway: one job, many watchers, by Socket.IO and by plain WebSocket.

The floor is a server of the same websockets library that only subscribes to Redis and broadcasts: no numbers, no
record, no bound, no namespaces.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_websocket

from bench.case import Row, cpu_seconds
from jobcast.shared.events import JobProgress, JobStarted
from jobcast.shared.journal import RedisJournal, Writer
from jobcast.shared.redis import connect
from tests.support.waiting import free_port

WATCHERS = 200
EVENTS = 200
PACE = 0.01
FLOOR = """
import asyncio, os
from redis.asyncio import Redis
from websockets.asyncio.server import broadcast, serve
import uvloop
async def main():
    clients = set()
    async def serve_one(websocket):
        clients.add(websocket)
        await websocket.wait_closed()
    async with serve(serve_one, "127.0.0.1", int(os.environ["JOBCAST_PORT"]), compression=None):
        feed = Redis.from_url(os.environ["JOBCAST_REDIS_URL"]).pubsub()
        await feed.subscribe("jobcast:{bench-fanout}")
        async for message in feed.listen():
            if message["type"] == "message":
                broadcast(clients, message["data"].decode())
uvloop.run(main())
"""
GATEWAY = """
import os
from jobcast.gateway.app import serve
from jobcast.shared.settings import load
serve(load(os.environ))
"""


async def measure(redis_url: str) -> list[Row]:
    """CPU of the server process for each delivered event."""
    floor = await _one(redis_url, FLOOR, "/", _enter_floor)
    doors = (
        ("WebSocket", "/ws", _enter_websocket),
        ("Socket.IO", "/socket.io/?EIO=4&transport=websocket", _enter_socketio),
    )
    rows = []
    for door, path, enter in doors:
        ours = await _one(redis_url, GATEWAY, path, enter)
        rows.append(
            Row(f"one job, {WATCHERS} watchers by {door}, CPU of the server", "us/event", ours, floor, "bare broadcast")
        )
    return rows


async def _one(redis_url: str, program: str, path: str, enter: Callable[[ClientConnection], Awaitable[None]]) -> float:
    port = free_port()
    environment = {**os.environ, "JOBCAST_REDIS_URL": redis_url, "JOBCAST_PORT": str(port)}
    await _forget(redis_url)
    server = subprocess.Popen([sys.executable, "-c", program], env=environment)  # noqa: ASYNC220  nothing else runs yet
    try:
        watchers = [await _watch(f"ws://127.0.0.1:{port}{path}", enter) for _ in range(WATCHERS)]
        await asyncio.sleep(0.5)
        before = cpu_seconds(server.pid)
        counting = [asyncio.create_task(_count(websocket)) for websocket in watchers]
        await _publish(redis_url)
        delivered = sum(await asyncio.gather(*counting))
        spent = cpu_seconds(server.pid) - before
        if delivered != WATCHERS * EVENTS:
            raise SystemExit(f"bench: {delivered} of {WATCHERS * EVENTS} events were delivered")
        return spent / delivered * 1e6
    finally:
        server.terminate()
        server.wait()


async def _watch(url: str, enter: Callable[[ClientConnection], Awaitable[None]]) -> ClientConnection:
    deadline = time.monotonic() + 10
    while True:
        try:
            websocket = await connect_websocket(url, compression=None, max_queue=None, ping_interval=None)
        except OSError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)
            continue
        await enter(websocket)
        return websocket


async def _enter_floor(_websocket: ClientConnection) -> None:
    """Nothing to say: it sends everything to everyone."""


async def _enter_websocket(websocket: ClientConnection) -> None:
    await websocket.send(json.dumps(["subscribe-to-job", {"jobId": "bench-fanout"}]))
    while "subscription-success" not in str(await websocket.recv()):
        pass


async def _enter_socketio(websocket: ClientConnection) -> None:
    await websocket.recv()
    await websocket.send("40")
    await websocket.send('42["subscribe-to-job",{"jobId":"bench-fanout"}]')
    while "subscription-success" not in str(await websocket.recv()):
        pass


async def _count(websocket: ClientConnection) -> int:
    seen = 0
    while seen < EVENTS:
        seen += "job-progress" in str(await asyncio.wait_for(websocket.recv(), 20))
    await websocket.close()
    return seen


async def _forget(redis_url: str) -> None:
    client = connect(redis_url, name="bench")
    await client.flushall()
    await client.aclose()


async def _publish(redis_url: str) -> None:
    client = connect(redis_url, name="bench")
    journal, writer = RedisJournal(client), Writer()
    common = {"job_id": "bench-fanout", "queue": "bench", "attempt": 1, "timestamp": 1}
    await journal.append(JobStarted(**common, queue_to_start_time=1, worker="bench"))  # type: ignore[arg-type]
    for n in range(EVENTS):
        await journal.append(JobProgress(**common, progress=n % 100), key=writer.key())  # type: ignore[arg-type]
        await asyncio.sleep(PACE)
    await client.aclose()
