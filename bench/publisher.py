"""The workers of the benchmark: a process of its own that appends to the real journal, evenly or all at once.

Every server under measurement sees the same bytes, published by the journal's own script. A worker's client would wait
for each answer before it sends the next event; here the very same commands are also sent in a pipeline, so that the
server is the one that cannot keep up.
"""

import gc
import hashlib
import json
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, cast

import hiredis
from redis.asyncio import Redis

from jobcast.shared.clock import now_ms
from jobcast.shared.events import Event, JobProgress, JobStarted
from jobcast.shared.journal import RedisJournal, Writer

CONNECTIONS = 8
CHUNK = 64
"""Commands sent to one connection before the answers to the chunk before it are read."""
PATIENCE = 20.0


class Recorder:
    """Stands where the journal expects its client and keeps the script's call, encoded, instead of making it."""

    def __init__(self) -> None:
        self.scripts: list[str] = []
        self.command = b""

    def register_script(self, script: str) -> Callable[..., Awaitable[list[list[bytes]]]]:
        sha = hashlib.sha1(script.encode()).hexdigest()
        self.scripts.append(script)

        async def call(keys: Sequence[str], args: Sequence[str | bytes | int]) -> list[list[bytes]]:
            self.command = _pack("EVALSHA", sha, len(keys), *keys, *args)
            return [[b"ok", b"recorded", b"1", b"", b"", b""]]

        return call


class Connection:
    """To Redis, without a library in between: its answers are only counted."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader(notEnoughData=None)

    def send(self, commands: bytes) -> None:
        self._socket.sendall(commands)

    def take(self, answers: int) -> None:
        while answers:
            answer = self._reader.gets()
            if answer is None:
                self._reader.feed(self._socket.recv(65536) or _gone())
            elif isinstance(answer, hiredis.ReplyError) or (isinstance(answer, list) and answer[0][0] != b"ok"):
                raise RuntimeError(f"an event was not taken: {answer}")
            else:
                answers -= 1


class Jobs:
    """Numbered jobs of one queue, and their events as commands."""

    def __init__(self, journal: RedisJournal, recorder: Recorder, prefix: str, count: int, queue: str) -> None:
        self._journal = journal
        self._recorder = recorder
        self.ids = [f"{prefix}-{n}" for n in range(count)]
        self._queue = queue

    def started(self, n: int) -> bytes:
        return self._encode(JobStarted(**self._common(n), queue_to_start_time=1, worker="bench"))

    def progress(self, n: int, writer: Writer, *, sent: int, end: bool = False) -> bytes:
        """``sent`` is what the latency is taken from; ``end`` marks the last one that the clients wait for."""
        details = {"t": sent, "end": True} if end else {"t": sent}
        event = JobProgress(**self._common(n), progress=n % 100, details=details)
        return self._encode(event, writer)

    def _common(self, n: int) -> dict[str, Any]:
        job_id = self.ids[n % len(self.ids)]
        return {"job_id": job_id, "queue": self._queue, "attempt": 1, "timestamp": now_ms()}

    def _encode(self, event: Event, writer: Writer | None = None) -> bytes:
        _finish(self._journal.append(event, key=writer.key() if writer else None))
        return self._recorder.command


class Publisher:
    def __init__(self, port: int) -> None:
        self._lanes: list[list[bytes]] = []
        self._ends: list[bytes] = []
        self._recorder = Recorder()
        self._journal = RedisJournal(cast("Redis", self._recorder))
        self._connections = [Connection(port) for _ in range(CONNECTIONS)]
        for script in self._recorder.scripts:
            self._connections[0].send(_pack("SCRIPT", "LOAD", script))
        self._connections[0].take(len(self._recorder.scripts))

    def obey(self, order: dict[str, Any]) -> None:
        """``do`` start: begin the jobs; paced: ``events`` in turn, ``rate`` a second; burst: all at once,
        which is encode and then send.
        """
        jobs = Jobs(self._journal, self._recorder, order["prefix"], order["jobs"], order["queue"])
        match order["do"]:
            case "start":
                self._pipeline([[jobs.started(n) for n in range(order["jobs"])]])
            case "paced":
                self._paced(jobs, order["events"], order["rate"])
            case "encode":
                self._encode(jobs, order["events"])
            case "send":
                self._send()
            case "burst":
                self._encode(jobs, order["events"])
                self._send()

    def _paced(self, jobs: Jobs, events: int, rate: float) -> None:
        connection, writer = self._connections[0], Writer()
        start = time.monotonic()
        for n in range(events):
            pause = start + n / rate - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            end = n >= events - len(jobs.ids)
            connection.send(jobs.progress(n, writer, sent=time.monotonic_ns(), end=end))
            connection.take(1)

    def _encode(self, jobs: Jobs, events: int) -> None:
        lanes: list[list[bytes]] = [[] for _ in self._connections]
        writers = [Writer() for _ in self._connections]
        for n in range(events - len(jobs.ids)):
            lane = n % len(lanes)
            lanes[lane].append(jobs.progress(n, writers[lane], sent=0))
        last = Writer()
        self._ends = [jobs.progress(n, last, sent=0, end=True) for n in range(len(jobs.ids))]
        self._lanes = lanes

    def _send(self) -> None:
        """The last event of each job goes when all the others are taken: several connections keep no order."""
        self._pipeline(self._lanes)
        self._pipeline([self._ends])

    def _pipeline(self, lanes: Sequence[Sequence[bytes]]) -> None:
        owed = [0] * len(lanes)
        for start in range(0, max(map(len, lanes)) + CHUNK, CHUNK):
            for n, (lane, connection) in enumerate(zip(lanes, self._connections, strict=False)):
                chunk = lane[start : start + CHUNK]
                connection.send(b"".join(chunk))
                connection.take(owed[n])
                owed[n] = len(chunk)


def _pack(*words: str | bytes | int) -> bytes:
    # Its annotation speaks of one word only.
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]
    return packed


def _gone() -> bytes:
    raise RuntimeError("Redis closed the connection")


def _finish(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Run a coroutine that waits for nothing, as one over the recorder does; a loop would only take time."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise RuntimeError("the journal waited for something; the recorder answers at once")


def main() -> None:
    publisher = Publisher(int(sys.argv[1]))
    # A pause of the collector would count as the servers' latency.
    gc.disable()
    for line in sys.stdin:
        wall, cpu = time.monotonic(), time.process_time()
        publisher.obey(json.loads(line))
        spent = {"ok": True, "wall": time.monotonic() - wall, "cpu": time.process_time() - cpu}
        print(json.dumps(spent), flush=True)


if __name__ == "__main__":
    main()
