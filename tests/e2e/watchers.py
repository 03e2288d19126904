"""Clients of every kind, each writing down what it was told of one job: ``[event, payload]`` in order of arrival."""

import asyncio
import json
from typing import Any

import socketio
from websockets.asyncio.client import connect

from tests.conftest import StartNode
from tests.support.processes import ChildProcess

Heard = list[tuple[str, dict[str, Any]]]


def is_over(name: str, payload: dict[str, Any]) -> bool:
    return name in {"job-completed", "job-cancelled"} or (name == "job-failed" and bool(payload.get("final")))


def first_snapshot(heard: Heard) -> dict[str, Any]:
    return next(payload for name, payload in heard if name == "job-snapshot")


async def over_websocket(url: str, job_id: str, since: dict[str, Any] | None = None) -> Heard:
    heard: Heard = []
    async with connect(f"{url.replace('http', 'ws', 1)}/ws") as websocket:
        request = {"jobId": job_id, **({"since": since} if since else {})}
        await websocket.send(json.dumps(["subscribe-to-job", request, 1]))
        async for text in websocket:
            name, payload = json.loads(text)
            heard.append((name, payload))
            if is_over(name, payload):
                break
    return heard


async def over_sse(url: str, job_id: str, last_event_id: str | None = None) -> Heard:
    """curl, as anyone would type it."""
    command = ["curl", "-sN", "--max-time", "60", f"{url}/api/v1/jobs/{job_id}/events?until=done"]
    if last_event_id is not None:
        command += ["-H", f"Last-Event-ID: {last_event_id}"]
    curl = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await curl.communicate()
    heard: Heard = []
    for block in out.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(":"))
        if "event" in fields:
            heard.append((fields["event"], json.loads(fields["data"])))
    return heard


async def over_python_socketio(url: str, job_id: str) -> Heard:
    heard: Heard = []
    over = asyncio.Event()
    client = socketio.AsyncClient(reconnection=False)

    async def note(name: str, *payloads: Any) -> None:
        heard.append((name, payloads[0] if payloads else {}))
        if is_over(*heard[-1]):
            over.set()

    client.on("*", note)
    await client.connect(url, transports=["websocket"])
    try:
        await client.emit("subscribe-to-job", {"jobId": job_id})
        await asyncio.wait_for(over.wait(), 60)
    finally:
        await client.disconnect()
    return heard


def over_node(start_node: StartNode, url: str, job_id: str, **options: Any) -> ChildProcess:
    given = {
        "url": url,
        "jobId": job_id,
        "path": "/socket.io/",
        "namespace": "/",
        "transports": ["websocket"],
        **options,
    }
    return start_node("watch.js", json.dumps(given))


async def heard_by(child: ChildProcess, timeout: float = 60.0) -> Heard:
    """What a client in a child process said, once it has ended by itself."""
    assert await child.exited(timeout) == 0, child.report
    return [(name, payload) for name, payload in map(json.loads, child.stdout.splitlines())]
