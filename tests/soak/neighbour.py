"""A client in a process of its own that asks the gateway something all the time, and how long each answer took.

A ping is answered by the gateway's loop itself: its time is what the loop lagged, plus the way there and what the
machine needs to run this process, so it is an upper bound of the lag. A call goes all the way that calls go.
The next is asked when it is due, answered or not: who waits for a slow answer would ask least when it matters most.
"""

import contextlib
import json
import re
import select
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from typing import Final

from tests.gateway.support import frame, upgrade
from tests.support.processes import ChildProcess, clean_environment

INTERVAL: Final = {"ping": 0.005, "call": 0.02}
READY: Final = "ready"
_ANSWER: Final = {"ping": re.compile(rb"n(\d{8});"), "call": re.compile(rb'"ack",\{"id":(\d+),"ok":true')}


@contextlib.asynccontextmanager
async def neighbour(port: int, kind: str) -> AsyncIterator[list[float]]:
    """It asks within; afterwards the list holds the seconds that each answer took."""
    took: list[float] = []
    command = [sys.executable, "-m", "tests.soak.neighbour", str(port), kind]
    with ChildProcess(command, env=clean_environment()) as child:
        await child.says(READY)
        yield took
        child.signal(signal.SIGTERM)
        assert await child.exited() == 0, child.report
        took.extend(sorted(json.loads(child.stdout.removeprefix(READY))))


def _question(kind: str, number: int) -> bytes:
    if kind == "call":
        return frame(f'["get-subscriptions",null,{number}]')
    payload = b"n%08d;" % number
    return bytes([0x89, 0x80 | len(payload)]) + bytes(4) + payload


class Asking:
    """Asks until SIGTERM."""

    def __init__(self, port: int, kind: str) -> None:
        self.kind = kind
        self.took: list[float] = []
        self.asked: dict[int, float] = {}
        self.ended = False
        self._connection = socket.create_connection(("127.0.0.1", port))
        self._connection.sendall(upgrade(port))
        self._rest = b""
        signal.signal(signal.SIGTERM, self._end)

    def _end(self, *_signal: object) -> None:
        self.ended = True

    def go_on(self) -> None:
        number, next_at = 0, time.perf_counter()
        while not self.ended:
            if (now := time.perf_counter()) >= next_at:
                self.asked[number] = now
                self._connection.sendall(_question(self.kind, number))
                number, next_at = number + 1, next_at + INTERVAL[self.kind]
            elif select.select([self._connection], [], [], next_at - now)[0]:
                self._read()
        # What is not answered yet took at least so long.
        self.took += [time.perf_counter() - asked for asked in self.asked.values()]

    def _read(self) -> None:
        data = self._connection.recv(1 << 16)
        assert data, "the gateway ended the connection of a client that did nothing wrong"
        now, data, end = time.perf_counter(), self._rest + data, 0
        for found in _ANSWER[self.kind].finditer(data):
            self.took.append(now - self.asked.pop(int(found[1])))
            end = found.end()
        self._rest = data[max(end, len(data) - 64) :]


if __name__ == "__main__":
    asking = Asking(int(sys.argv[1]), sys.argv[2])
    print(READY, flush=True)
    asking.go_on()
    print(json.dumps(asking.took))
