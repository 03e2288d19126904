"""A subscriber that does nothing with what comes: how late an event is before any server has begun with it.

``python -m bench.listener PORT PATTERN`` subscribes and takes lines: ``reset`` forgets what came, ``report`` tells how
many events came since and how late they were, in microseconds.
"""

import json
import re
import select
import socket
import sys
import time
from typing import Final

_SENT: Final = re.compile(rb'"t":([0-9]+)')
"""When the publisher began with the event, in nanoseconds of the machine's steady clock (see bench.publisher)."""
AT_ONCE: Final = 1 << 18


class Listener:
    def __init__(self, port: int, pattern: str) -> None:
        self._redis = socket.create_connection(("127.0.0.1", port), timeout=5)
        self._redis.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._redis.sendall(b"*2\r\n$10\r\nPSUBSCRIBE\r\n$%d\r\n%b\r\n" % (len(pattern), pattern.encode()))
        self._redis.recv(AT_ONCE)
        self._late: list[float] = []

    def run(self) -> None:
        while True:
            readable, _, _ = select.select([self._redis, sys.stdin], [], [])
            if self._redis in readable:
                self._hear()
            elif not (line := sys.stdin.readline()):
                return
            else:
                print(json.dumps({"ok": True, **self._answer(line.strip())}), flush=True)

    def _hear(self) -> None:
        data, now = self._redis.recv(AT_ONCE), time.monotonic_ns()
        self._late += [(now - int(sent)) / 1000 for sent in _SENT.findall(data)]

    def _answer(self, line: str) -> dict[str, float]:
        late, self._late = sorted(self._late), []
        if line == "reset" or not late:
            return {"samples": 0}
        return {
            "samples": len(late),
            "p50": late[len(late) // 2],
            "p99": late[len(late) * 99 // 100],
            "max": late[-1],
        }


if __name__ == "__main__":
    Listener(int(sys.argv[1]), sys.argv[2]).run()
