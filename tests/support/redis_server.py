"""A real Redis server that a test may stop, kill, freeze and start again on the same address."""

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.processes import ChildProcess, clean_environment
from tests.support.waiting import PAUSE, free_port

START_DEADLINE = 10.0


class RedisServer:
    """One server in its own directory. The address and the data directory outlive every restart.

    Without ``appendonly`` it keeps nothing: a restart comes back empty, which is fault 2, not a defect.
    ``config`` holds lines of redis.conf, such as ``{"maxmemory": "10mb"}``.
    """

    def __init__(
        self,
        binary: Path,
        *,
        appendonly: bool = False,
        socket: Literal["tcp", "unix"] = "tcp",
        config: Mapping[str, str] | None = None,
    ) -> None:
        self._binary = binary
        self._directory = tempfile.TemporaryDirectory(prefix="jobcast-redis-")
        self._process: ChildProcess | None = None
        self.directory = Path(self._directory.name)
        self.port = free_port() if socket == "tcp" else 0
        self._config = {**self._defaults(appendonly=appendonly), **(config or {})}

    def _defaults(self, *, appendonly: bool) -> dict[str, str]:
        address = {"port": str(self.port), "bind": "127.0.0.1"}
        if not self.port:
            address |= {"unixsocket": str(self.directory / "redis.sock")}
        return {
            **address,
            "dir": str(self.directory),
            "save": '""',
            "appendonly": "yes" if appendonly else "no",
            "maxmemory-policy": "noeviction",
        }

    @property
    def url(self) -> str:
        if self.port:
            return f"redis://127.0.0.1:{self.port}/0"
        return f"unix://{self.directory}/redis.sock?db=0"

    @property
    def process(self) -> ChildProcess:
        """The life that runs now, or ran last: its pid and its log, which is its output."""
        if self._process is None:
            raise AssertionError("the Redis server was never started")
        return self._process

    def client(self) -> redis.Redis:
        """Return a plain client that neither retries nor waits for ever, to look behind jobcast's back."""
        return redis.Redis.from_url(self.url, decode_responses=True, socket_timeout=2.0, retry=Retry(NoBackoff(), 0))

    def start(self) -> None:
        """Start it and wait until it answers, its append-only file read."""
        lines = "".join(f"{name} {value}\n" for name, value in self._config.items())
        file = self.directory / "redis.conf"
        file.write_text(lines, encoding="utf-8")
        self._process = ChildProcess([str(self._binary), str(file)], env=clean_environment())
        deadline = time.monotonic() + START_DEADLINE
        while not self.answers():
            if self._process.exit_code is not None or time.monotonic() > deadline:
                raise AssertionError(f"Redis did not start: {self._process.report}")
            time.sleep(PAUSE)

    def answers(self) -> bool:
        """Say whether a PING gets its PONG; false also while it still loads its data."""
        with self.client() as client:
            try:
                return bool(client.ping())
            except (redis.ConnectionError, redis.TimeoutError):
                return False

    def stop(self) -> None:
        """End it in order: with ``appendonly`` nothing is lost."""
        self.process.stop()
        self.process.close()

    def kill(self) -> None:
        """End it with SIGKILL, in the middle of whatever it does."""
        self.process.kill()
        self.process.close()

    def pause(self) -> None:
        """Hang it: connections stay open and nothing is answered any more."""
        self.process.pause()

    def resume(self) -> None:
        self.process.resume()

    def restart(self) -> None:
        """Stop and start at the same address."""
        self.stop()
        self.start()

    def flush(self) -> None:
        """Forget all data."""
        with self.client() as client:
            client.flushall()

    def close(self) -> None:
        """End it whatever state it is in, and remove its directory."""
        if self._process is not None:
            self.kill()
        self._directory.cleanup()
