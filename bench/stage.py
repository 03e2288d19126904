"""One life of one server with its clients and the publisher: what the cases are played on."""

import contextlib
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.machine import PEERS, Invalid, cpu_seconds, memory_bytes
from bench.talk import Tool
from tests.support.processes import ChildProcess, clean_environment
from tests.support.redis_server import RedisServer
from tests.support.waiting import free_port

SOCKET_IO = "/socket.io/?EIO=4&transport=websocket"
WINDOW = 64
"""Clients on their way at a time: as a crowd comes back, and within every server's backlog."""
PATIENCE = 120.0
"""Seconds any one phase may take; the slowest peer needs a fraction of it."""
START_PATIENCE = 20.0
BACKLOG = 5000
"""Events that a stopped server finds before it."""
LONGEST_STOP = 2.5
"""Seconds; the gateway takes Redis for dead after three without an answer."""
QUEUE = "bench"


@dataclass(frozen=True)
class Kind:
    """A server that can be started. ``slow`` ones get smaller sizes and one round: figures per event all the same."""

    key: str
    title: str
    argv: tuple[str, ...]
    slow: bool = False


JOBCAST = Kind("jobcast", "jobcast", (sys.executable, "-m", "bench.peers.gateway"))
NODE = Kind("node", "Node socket.io", ("node", str(PEERS / "server.js")))
STOCK = Kind("stock", "python-socketio + AsyncRedisManager", (sys.executable, "-m", "bench.peers.stock"), slow=True)
CLASSIC = Kind("classic", "hand-written loop", (sys.executable, "-m", "bench.peers.classic"), slow=True)


def available() -> list[Kind]:
    """The servers that can run here: Node's only with Node and its packages."""
    node = shutil.which("node") and (PEERS / "node_modules" / "socket.io").is_dir()
    return [JOBCAST, *([NODE] if node else []), STOCK, CLASSIC]


@dataclass(frozen=True)
class Workshop:
    """What outlives the stages."""

    redis: RedisServer
    tools: Path
    publisher: Tool

    def load(self, port: int) -> Tool:
        return Tool([str(self.tools / "load"), str(port), SOCKET_IO])


@dataclass(frozen=True)
class Delivery:
    """What one phase of publishing came to. ``cpu`` is seconds of the server; latencies are microseconds."""

    cpu: float
    seen: dict[str, Any]

    @property
    def delivered(self) -> int:
        return int(self.seen["delivered"])

    @property
    def cpu_us(self) -> float:
        """CPU of the server for each event that reached a client, in microseconds."""
        return self.cpu / max(1, self.delivered) * 1e6

    @property
    def frame_bytes(self) -> int:
        return int(self.seen["bytes"]) // int(self.seen["frames"])

    def values(self, name: str) -> dict[str, float]:
        """As figures; ``clients`` is the share of a core that the clients themselves took."""
        latencies = {f"{name}.{key}": float(self.seen[key]) for key in ("p50", "p99", "max")} if self._timed else {}
        return {
            f"{name}.cpu": self.cpu_us,
            **latencies,
            f"{name}.conflated": float(self.seen["conflated"]),
            f"{name}.clients": self.seen["cpu"] / self.seen["wall"],
        }

    @property
    def _timed(self) -> bool:
        return bool(self.seen["samples"])


def together(parts: Sequence[Delivery]) -> Delivery:
    """Several phases as one; there are no latencies of a server that was stopped."""
    summed = ("delivered", "conflated", "frames", "bytes", "cpu", "wall")
    seen = {key: sum(part.seen[key] for part in parts) for key in summed}
    return Delivery(sum(part.cpu for part in parts), seen | {"samples": 0})


class Stage:
    def __init__(self, workshop: Workshop, server: ChildProcess, load: Tool) -> None:
        self._publisher = workshop.publisher
        self._server = server
        self._load = load

    @property
    def cpu(self) -> float:
        return cpu_seconds(self._server.pid)

    @property
    def memory(self) -> int:
        return memory_bytes(self._server.pid)

    def start_jobs(self, prefix: str, jobs: int) -> None:
        """Begin the jobs before anybody watches: each has a record then."""
        self._order({"do": "start", "prefix": prefix, "jobs": jobs})

    def open(self, clients: int, what: Literal["job", "queue"], target: str) -> None:
        """Connect and subscribe; a ``*`` at the target's end is each client's own number."""
        self._load.ask(f"open {clients} {what} {target} 0 {WINDOW} {PATIENCE * 1000:.0f}", PATIENCE + 5)

    def publish(self, order: dict[str, Any], *, watchers: int) -> Delivery:
        """Publish, and wait until each of ``watchers`` clients of a job has seen its end; the server's CPU between."""
        self._load.ask("reset", 10)
        before = self.cpu
        self._order(order)
        return self._delivered(order, watchers, before)

    def flood(self, order: dict[str, Any], *, watchers: int) -> Delivery:
        """Publish in backlogs, each while the server is stopped: it goes on with all of one before it.

        Redis records fewer events in a second than a gateway passes on: only so is the gateway the one that cannot
        keep up. One long stop would be taken for a dead Redis by whoever watches his connection, and so be answered
        from the record, not delivered: hence several short ones.
        """
        size = min(BACKLOG, order["events"])
        part = {**order, "events": size}
        return together([self._backlog(part, watchers) for _ in range(order["events"] // size)])

    def _backlog(self, order: dict[str, Any], watchers: int) -> Delivery:
        self._order({**order, "do": "encode"})
        self._load.ask("reset", 10)
        before, stopped = self.cpu, time.monotonic()
        self._server.pause()
        try:
            self._order({**order, "do": "send"})
        finally:
            self._server.resume()
        if time.monotonic() - stopped > LONGEST_STOP:
            raise Invalid(
                f"recording {order['events']} events took {time.monotonic() - stopped:.1f} s: a stop too long"
            )
        return self._delivered(order, watchers, before)

    def _delivered(self, order: dict[str, Any], watchers: int, before: float) -> Delivery:
        ends = watchers * order["jobs"]
        seen = self._load.ask(f"wait {ends} {PATIENCE * 1000:.0f}", PATIENCE + 5)
        delivery = Delivery(self.cpu - before, seen)
        self._check(seen, expected=watchers * order["events"])
        return delivery

    def rest(self, seconds: float) -> dict[str, Any]:
        """Let time pass; return what the clients saw meanwhile. They answer pings."""
        self._load.ask("reset", 10)
        time.sleep(seconds)
        return self._load.ask("report", 10)

    def _order(self, order: dict[str, Any]) -> dict[str, Any]:
        return self._publisher.ask(json.dumps({"queue": QUEUE, **order}), PATIENCE)

    def _check(self, seen: dict[str, Any], *, expected: int) -> None:
        if self._server.exit_code is not None:
            raise Invalid(f"the server ended: {self._server.report}")
        if seen["lost"] or seen["delivered"] + seen["conflated"] != expected:
            raise Invalid(f"of {expected} events some were lost: {seen}; {self._server.report}")


@contextlib.contextmanager
def play(workshop: Workshop, kind: Kind) -> Iterator[Stage]:
    """Start the server over an empty Redis; end it and its clients afterwards."""
    workshop.redis.flush()
    port = free_port()
    with ChildProcess(kind.argv, env=_environment(workshop.redis.url, port)) as server:
        _until_listening(server, port)
        with workshop.load(port) as load:
            try:
                yield Stage(workshop, server, load)
            except Invalid as error:
                raise Invalid(f"{kind.title}: {error}\n{server.report[-2000:]}") from error
            finally:
                # Nothing to drain: a graceful stop of thousands of clients would only take time.
                server.kill()


def _environment(redis_url: str, port: int) -> dict[str, str]:
    return {
        **clean_environment(),
        "BENCH_REDIS_URL": redis_url,
        "BENCH_PORT": str(port),
        "JOBCAST_REDIS_URL": redis_url,
        "JOBCAST_PORT": str(port),
        "JOBCAST_MAX_CONNECTIONS": "20000",
        "NODE_ENV": "production",
    }


def _until_listening(server: ChildProcess, port: int) -> None:
    deadline = time.monotonic() + START_PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if server.exit_code is not None or time.monotonic() > deadline:
                raise Invalid(f"the server did not start: {server.report}") from None
            time.sleep(0.05)
        else:
            # Its connection to Redis is made meanwhile.
            time.sleep(0.5)
            return


class FloorStage:
    """The same clients at a server that only sends: no events come from Redis, the frames have their size."""

    def __init__(self, workshop: Workshop, key: str, clients: int) -> None:
        port = free_port()
        program = [str(workshop.tools / "floor")] if key == "floor-c" else [sys.executable, "-m", "bench.peers.floor"]
        self._clients = clients
        self._server = Tool([*program, str(port), str(clients)], env=dict(os.environ))
        time.sleep(0.5)
        self._load = workshop.load(port)

    def __enter__(self) -> "FloorStage":
        self._load.ask(f"open {self._clients} raw - 0 {WINDOW} 30000", 35)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        self._load.close()

    def publish(self, events: int, rate: int, size: int) -> Delivery:
        self._load.ask("reset", 10)
        before = cpu_seconds(self._server.pid)
        self._server.ask(f"go {events} {rate} {size}", PATIENCE)
        seen = self._load.ask(f"wait {self._clients} 30000", 35)
        if seen["delivered"] != self._clients * events:
            raise Invalid(f"the floor lost events: {seen}")
        return Delivery(cpu_seconds(self._server.pid) - before, seen)


class ListenerStage:
    """No server at all: the events of many jobs, heard by one who only notes when they came."""

    def __init__(self, workshop: Workshop, jobs: int) -> None:
        workshop.redis.flush()
        self._publisher = workshop.publisher
        self._order: dict[str, Any] = {"queue": QUEUE, "prefix": "jobs", "jobs": jobs}
        self._publisher.ask(json.dumps({**self._order, "do": "start"}), PATIENCE)
        # Each job's channel, none of its queue's.
        argv = [sys.executable, "-m", "bench.listener", str(workshop.redis.port), "jobcast:{jobs-*"]
        self._listener = Tool(argv)

    def __enter__(self) -> "ListenerStage":
        self._listener.ask("reset", 10)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def publish(self, events: int, rate: int) -> dict[str, float]:
        self._listener.ask("reset", 10)
        self._publisher.ask(json.dumps({**self._order, "do": "paced", "events": events, "rate": rate}), PATIENCE)
        time.sleep(0.5)
        seen = self._listener.ask("report", 10)
        if seen["samples"] != events:
            raise Invalid(f"of {events} events {seen['samples']} came from Redis")
        return {f"steady.{key}": float(seen[key]) for key in ("p50", "p99", "max")}
