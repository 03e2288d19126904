"""A tenth of a job's watchers take nothing: they are let go in time, cost little, and the others miss nothing."""

import asyncio
import contextlib
import re
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

from tests.gateway.conftest import StartGateway
from tests.gateway.crowd import anonymous, close, descriptors, dial, ended, gauge
from tests.gateway.events import progressed, queued, started
from tests.gateway.support import Core, GatewayProcess, core, frame, stalled_socket, until_ready, upgrade
from tests.support.waiting import wait_until

READERS, STALLED, DEADLINE, MARGIN = 90, 10, 2.0, 5.0
PER_CLIENT = 256 * 1024
DETAILS = "x" * 20_000
SOCKET_IO = "/socket.io/?EIO=4&transport=websocket"
_SEQ = re.compile(rb'"seq":(\d+),"epoch"')


class Reader:
    """A watcher that reads as fast as it can and notes the numbers alone: ninety parsers would be the bottleneck."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.seqs: list[int] = []
        self.skipped = False
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        rest = b""
        while data := await asyncio.get_running_loop().sock_recv(self.connection, 1 << 18):
            data = rest + data
            self.skipped = self.skipped or b'"skipped"' in data
            last = 0
            for found in _SEQ.finditer(data):
                self.seqs.append(int(found[1]))
                last = found.end()
            rest = data[max(last, len(data) - 64) :]

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self.connection.close()


@contextlib.asynccontextmanager
async def readers(port: int, number: int) -> AsyncIterator[list[Reader]]:
    found = [Reader(await dial(port, said=upgrade(port) + frame('["subscribe-to-job","j"]'))) for _ in range(number)]
    try:
        yield found
    finally:
        for each in found:
            await each.stop()


async def began(parts: Core) -> None:
    await parts.journal.append(queued("j"))
    await parts.journal.append(started("j"))


async def watched_by(gateway: GatewayProcess, number: int) -> None:
    async def all_watch() -> bool:
        return await gauge(gateway.url, "jobcast_watches") == number

    await wait_until(all_watch, 10, f"{number} watches")


async def publish_until_slow(gateway: GatewayProcess, parts: Core, slow: int) -> tuple[int, float, int]:
    """Events, until so many were closed as slow: the last number, the seconds it took, the memory it grew by."""
    memory, peak, seq, start = anonymous(gateway.pid), 0, 2, time.monotonic()
    while time.monotonic() - start < DEADLINE + MARGIN + 2:
        for _ in range(3):
            await parts.journal.append(progressed("j", seq % 100, details=DETAILS))
            seq += 1
            await asyncio.sleep(0.02)
        peak = max(peak, anonymous(gateway.pid) - memory)
        if await gauge(gateway.url, "jobcast_slow_closed_total") == slow:
            break
    return seq, time.monotonic() - start, peak


async def test_a_tenth_of_the_watchers_that_read_nothing_are_closed_in_time_and_the_others_get_every_event(
    start_gateway: StartGateway, redis_url: str
) -> None:
    gateway = start_gateway(redis_url, env={"JOBCAST_WRITE_DEADLINE": str(DEADLINE)})
    await until_ready(gateway)
    port = gateway.port
    async with core(redis_url) as parts, readers(port, READERS) as reading:
        await began(parts)
        await watched_by(gateway, READERS)
        # Warm: what ninety readers cost is not what the stalled ones add.
        for number in range(20):
            await parts.journal.append(progressed("j", number))
        before = descriptors(gateway.pid)
        request, subscribe = upgrade(port), frame('["subscribe-to-job","j"]')
        stalled = [await stalled_socket(port, request, subscribe) for _ in range(STALLED)]
        await watched_by(gateway, READERS + STALLED)
        seq, took, peak = await publish_until_slow(gateway, parts, STALLED)
        seq += 20
        print(f"{STALLED} closed as slow {took:.2f} s after the first event; {peak // STALLED // 1024} KiB each")
        assert await gauge(gateway.url, "jobcast_slow_closed_total") == STALLED
        assert took <= DEADLINE + MARGIN
        assert peak <= STALLED * PER_CLIENT
        await wait_until(lambda: descriptors(gateway.pid) <= before + 2, 2, "their descriptors to be free")
        await wait_until(lambda: all(each.seqs[-1] == seq for each in reading), 10, f"event {seq} at every reader")
        trying = [each for each in stalled if "04" in states(port, each)]
        assert not trying, "the kernel goes on trying to send what they do not read"
        whole = [each for each in reading if sorted(set(each.seqs)) == list(range(each.seqs[0], seq + 1))]
        assert len(whole) == READERS
        assert not any(each.skipped for each in reading)
        close(stalled)
    gateway.check_log()


async def test_a_stalled_client_that_still_answers_pings_is_closed_as_slow_all_the_same(
    start_gateway: StartGateway, redis_url: str
) -> None:
    pings = {"JOBCAST_PING_INTERVAL": "0.3", "JOBCAST_PING_TIMEOUT": "0.5"}
    gateway = start_gateway(redis_url, env={"JOBCAST_WRITE_DEADLINE": str(DEADLINE), **pings})
    await until_ready(gateway)
    port = gateway.port
    async with core(redis_url) as parts, readers(port, 1) as (neighbour,):
        await began(parts)
        await watched_by(gateway, 1)
        before = descriptors(gateway.pid)
        stalled = await stalled_socket(port, upgrade(port, SOCKET_IO), frame("40"), frame('42["subscribe-to-job","j"]'))
        await watched_by(gateway, 2)
        answering = asyncio.create_task(pong(stalled))
        seq, took, _ = await publish_until_slow(gateway, parts, 1)
        print(f"closed as slow {took:.2f} s after the first event, answering pings all the while")
        assert await gauge(gateway.url, "jobcast_slow_closed_total") == 1
        assert took <= DEADLINE + MARGIN
        await wait_until(lambda: descriptors(gateway.pid) <= before + 2, 2, "its descriptor to be free")
        with contextlib.suppress(ConnectionError):
            await answering
        # What the kernel had taken for it is all there is to come.
        await asyncio.wait_for(ended(stalled), 5)
        stalled.close()
        await wait_until(lambda: neighbour.seqs[-1] == seq, 5, "the last event at the neighbour")
    gateway.check_log()


def states(port: int, peer: socket.socket) -> set[str]:
    """How the kernel sees the gateway's end of this connection (/proc/net/tcp; 04 is FIN_WAIT1)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    ends = f":{port:04X}", f":{peer.getsockname()[1]:04X}"
    return {row[3] for row in rows if row[1].endswith(ends[0]) and row[2].endswith(ends[1])}


async def pong(connection: socket.socket) -> None:
    """Answer pings it does not even read, until the connection is gone."""
    while True:
        await asyncio.get_running_loop().sock_sendall(connection, frame("3"))
        await asyncio.sleep(0.1)
