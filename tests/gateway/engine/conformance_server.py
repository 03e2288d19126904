"""The servers that the official protocol suites ask for, as a child to test: python-socketio's own stack, and ours.

``python -m tests.gateway.engine.conformance_server {stock|ours} --port P --ping-interval 0.3 --ping-timeout 0.2``

On ``/engine.io/`` an Engine.IO server sends every message back; on ``/socket.io/`` a Socket.IO server answers as the
Socket.IO suite expects. A second port, ``--watch-port``, lets a test look inside and move the wall clock.
"""

import argparse
import asyncio
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import engineio
import socketio
import uvicorn
from starlette.types import Receive, Scope, Send

from jobcast.gateway.app import limits_of
from jobcast.gateway.engine import serving
from jobcast.gateway.engine.house import House
from jobcast.gateway.engine.server import EngineServer
from jobcast.gateway.engine.socketio_server import SocketIoServer
from jobcast.gateway.guard import Guard
from jobcast.gateway.metrics import Metrics
from jobcast.shared.settings import Settings

NAMESPACES = ("/", "/custom")


@dataclass(frozen=True)
class Options:
    """The command line. Spans are seconds; the stock stack knows no deadline and leaves those out. With ``redis`` it
    emits through its Redis manager; ours has none.
    """

    port: int = 3000
    watch_port: int = 3001
    ping_interval: float = 0.3
    ping_timeout: float = 0.2
    connect_deadline: float = 1.3
    header_deadline: float = 1.0
    body_deadline: float = 1.0
    write_deadline: float = 1.0
    drain: float = 1.0
    redis: str = ""


async def serve_stock(options: Options) -> None:
    """What ``pip install python-socketio uvicorn`` gives, its defaults untouched but for the pings."""
    pings = {"ping_interval": options.ping_interval, "ping_timeout": options.ping_timeout}
    engine = engineio.AsyncServer(async_mode="asgi", **pings)
    # Without always_connect the connect handler would run, and emit, before the client is told that it is connected.
    manager = socketio.AsyncRedisManager(options.redis) if options.redis else None
    server = socketio.AsyncServer(async_mode="asgi", always_connect=True, client_manager=manager, **pings)
    answer_engineio(engine)
    answer_socketio(server)
    app = engineio.ASGIApp(engine, other_asgi_app=socketio.ASGIApp(server))
    async with await watch(options, server, lambda: len(engine.sockets) + len(server.eio.sockets)):
        await uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=options.port, lifespan="off")).serve()


async def serve_ours(options: Options) -> None:
    """The same handlers on ``jobcast.gateway.engine``, every deadline from the options.

    Register with :func:`answer_engineio` and :func:`answer_socketio`, and serve within :func:`watch`.
    """
    limits = replace(
        limits_of(Settings()),
        header=options.header_deadline,
        connect=options.connect_deadline,
        body=options.body_deadline,
        write=options.write_deadline,
        ping_interval=options.ping_interval,
        ping_timeout=options.ping_timeout,
        message_size=1_000_000,
    )
    # Nobody says CONNECT to a server that knows only Engine.IO.
    engine = EngineServer(limits=replace(limits, connect=math.inf))
    # As for the stock stack: the connect handler emits, and the client must know by then that it is connected.
    server = SocketIoServer(namespaces=list(NAMESPACES), limits=limits, always_connect=True)
    answer_engineio(engine)
    answer_socketio(server)
    engines: dict[str, EngineServer] = {"/engine.io": engine, "/socket.io": server.eio}
    house = House(limits, Guard(origins=(), hosts=()), Metrics(), engines)
    house.start()
    for each in engines.values():
        each.use(house.wheel)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await engines[scope["path"].rstrip("/")].handle_request(scope, receive, send)

    async def drain() -> None:
        for each in engines.values():
            await each.shutdown()

    async with await watch(options, server, lambda: len(engine.sessions) + len(server.eio.sessions)):
        running = serving.server(app, house, drain, options.drain)
        running.config.lifespan = "off"
        with serving.listen("127.0.0.1", options.port) as listening:
            await running.serve(sockets=[listening])


def answer_engineio(engine: Any) -> None:
    """Every message is sent back as it came."""

    async def echo(sid: str, data: str | bytes) -> None:
        await engine.send(sid, data)

    engine.on("message", echo)


def answer_socketio(server: Any) -> None:
    """The handlers of the Socket.IO suite, in both namespaces."""
    for namespace in NAMESPACES:
        _answer_in(server, namespace)


def _answer_in(server: Any, namespace: str) -> None:
    async def connect(sid: str, _environ: object, auth: object = None) -> None:
        await server.emit("auth", auth or {}, to=sid, namespace=namespace)

    async def message(sid: str, *arguments: Any) -> None:
        await server.emit("message-back", arguments, to=sid, namespace=namespace)

    async def message_with_ack(_sid: str, *arguments: Any) -> tuple[Any, ...]:
        return arguments

    server.on("connect", connect, namespace=namespace)
    server.on("message", message, namespace=namespace)
    server.on("message-with-ack", message_with_ack, namespace=namespace)


async def watch(options: Options, server: Any, sessions: Callable[[], int]) -> asyncio.Server:
    """Listen for a test's questions: one line of JSON in, one out. ``sessions`` counts the open Engine.IO sessions.

    ``{"look": true}`` counts; ``{"emit": size, "times": n}`` emits to everyone, one after the other, does not wait for
    the end of it, and says how many tasks the first has under way; ``{"step": s}`` moves the wall clock, and only that.
    """
    emitting: set[asyncio.Task[None]] = set()

    async def emit_all(size: int, times: int) -> None:
        for _ in range(times):
            await server.emit("flood", "x" * size)

    async def start_emitting(size: int, times: int) -> int:
        before = len(asyncio.all_tasks())
        task = asyncio.create_task(emit_all(size, times))
        emitting.add(task)
        task.add_done_callback(emitting.discard)
        most = 0
        for _ in range(3):
            await asyncio.sleep(0)
            most = max(most, len(asyncio.all_tasks()) - before - 1)
        return most

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = json.loads(await reader.readline())
        found = {"most_tasks": await start_emitting(asked["emit"], asked["times"])} if "emit" in asked else {}
        if "step" in asked:
            _step(asked["step"])
        found |= {"sessions": sessions(), "tasks": len(asyncio.all_tasks())}
        writer.write(json.dumps(found).encode() + b"\n")
        writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", options.watch_port)


def _step(seconds: float) -> None:
    """What an administrator or NTP does to a machine, for this process alone: the monotonic clock goes on as it was."""
    real = time.time
    time.time = lambda: real() + seconds


def main() -> None:
    """Serve until a signal ends it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("stock", "ours"))
    for field in fields(Options):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    given = vars(parser.parse_args())
    serve = {"stock": serve_stock, "ours": serve_ours}[given.pop("kind")]
    asyncio.run(serve(Options(**given)))


if __name__ == "__main__":
    main()
