"""One client subscribes without end, far faster than it may: what it is told, and what its neighbours notice.

The gateway answers as many calls as the client's allowance is and reads no faster, so most of the flood waits in the
flooder's own send buffer: a million calls take as long as the allowance says.
"""

import argparse
import asyncio
import multiprocessing
import re
import select
import socket
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from tests.gateway.crowd import anonymous, gauge
from tests.gateway.support import GatewayProcess, frame, upgrade
from tests.soak.stage import Figures, Stage, run, stage
from tests.soak.watchers import crowd

MOST = 200
"""What one client may watch."""
EVENTS, DETAILS = 20.0, 200
SPELL = 20.0
_ANSWER = re.compile(rb'"ack",\{"id":(\d+),"ok":(?:true|false,"code":"([a-z-]+)")')


@dataclass
class Told:
    """What the flooder saw."""

    codes: Counter[str]
    sent_in: float
    answered_in: float
    usable: bool
    after: float
    """Seconds that a call of each kind took together, once all of the flood was answered."""


class Flooder:
    """Sends calls at a rate, as far as the connection takes them, and reads all the while."""

    def __init__(self, port: int) -> None:
        self.codes: Counter[str] = Counter()
        self._connection = socket.create_connection(("127.0.0.1", port))
        self._connection.sendall(upgrade(port))
        self._connection.setblocking(False)
        self._rest = b""

    def flood(self, calls: int, rate: float) -> Told:
        start, sent, sent_in, unsent = time.monotonic(), 0, 0.0, b""
        while self.codes.total() < calls:
            due = min(calls, int((time.monotonic() - start) * rate) + 1)
            readable, writable, _ = select.select(
                [self._connection], [self._connection] if unsent or sent < due else [], [], 0.005
            )
            if writable:
                to = min(due, sent + 200)
                unsent += b"".join(self._call("subscribe-to-job", f"id-{each}", each) for each in range(sent, to))
                unsent, sent = unsent[self._connection.send(unsent) :], to
                sent_in = time.monotonic() - start
            if readable:
                self._read()
        answered_in = time.monotonic() - start
        codes = self.codes.copy()
        return Told(codes, sent_in, answered_in, *self._use())

    def _use(self) -> tuple[bool, float]:
        """Leave a job and watch another one, when the allowance has one call again."""
        time.sleep(0.1)
        start, before = time.monotonic(), self.codes["ok"]
        self._connection.send(self._call("unsubscribe-from-job", "id-7", 0) + self._call("subscribe-to-job", "new", 1))
        told = self.codes.total() + 2
        while self.codes.total() < told and time.monotonic() - start < 10:
            if select.select([self._connection], [], [], 1)[0]:
                self._read()
        return self.codes["ok"] == before + 2, time.monotonic() - start

    @staticmethod
    def _call(name: str, job: str, number: int) -> bytes:
        return frame(f'["{name}","{job}",{number}]')

    def _read(self) -> None:
        data = self._connection.recv(1 << 16)
        assert data, "the gateway ended the connection"
        data, end = self._rest + data, 0
        for found in _ANSWER.finditer(data):
            self.codes[found[2].decode() if found[2] else "ok"] += 1
            end = found.end()
        self._rest = data[max(end, len(data) - 128) :]


def flood(port: int, calls: int, rate: float) -> Told:
    """In a process of its own: what it costs is not to slow down the watchers' reading."""
    return Flooder(port).flood(calls, rate)


async def soak(staged: Stage, calls: int, rate: float, neighbours: int, figures: Figures) -> None:
    gateway, loop = staged.gateway, asyncio.get_running_loop()
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    with pool:
        async with crowd(staged.redis_url, gateway.port, neighbours, rate=EVENTS, details=DETAILS) as watching:
            await watching.spell(3)
            alone = await watching.spell(SPELL)
            print(f"{neighbours} neighbours: {alone}", flush=True)
            before = anonymous(gateway.pid)
            flooding = loop.run_in_executor(pool, flood, gateway.port, calls, rate)
            beside = await watching.meanwhile(flooding)
            print(f"beside the flood: {beside}")
            await judge(await flooding, gateway, calls, rate, figures)
            print(f"the gateway's memory: {(anonymous(gateway.pid) - before) / 1024:+.0f} KiB")
            after = await watching.spell(SPELL)
            print(f"without it again: {after}")
            base = (alone.p99 + after.p99) / 2
            figures.at_most("p99 beside the flood, to the mean of that before and after", beside.p99 / base, 1.2)
            await watching.hears_all(figures)


async def judge(told: Told, gateway: GatewayProcess, calls: int, rate: float, figures: Figures) -> None:
    print(f"{calls} calls were to be sent at {rate:g}/s; the connection took them at {calls / told.sent_in:.0f}/s")
    print(f"all were answered after {told.answered_in:.1f} s: {dict(told.codes)}")
    named = {"ok", "too-many-subscriptions", "rate-limited"}
    figures.holds("each is answered, refused by name", told.codes.total() == calls and told.codes.keys() <= named)
    figures.holds(f"{told.codes['ok']} are watched", told.codes["ok"] == min(calls, MOST))
    figures.holds(f"afterwards it leaves one and watches another, in {told.after * 1000:.1f} ms", told.usable)
    closed = await gauge(gateway.url, "jobcast_slow_closed_total")
    figures.at_most("closed as slow", closed, 0)


async def main(calls: int, rate: float, neighbours: int, allowance: float) -> bool:
    figures = Figures()
    async with stage({"JOBCAST_MAX_CALLS": str(allowance)}) as staged:
        await soak(staged, calls, rate, neighbours, figures)
    return figures.well


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--rate", type=float, default=10_000.0)
    parser.add_argument("--neighbours", type=int, default=300)
    parser.add_argument("--allowance", type=float, default=100.0, help="JOBCAST_MAX_CALLS")
    given = parser.parse_args()
    run(main(given.calls, given.rate, given.neighbours, given.allowance))
