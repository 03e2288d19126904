"""Clients that come, watch a job and go, half of them by reset: afterwards nothing of them is left in the gateway.

``python -m tests.soak.churn [--clients 200000]`` starts a Redis and a gateway of its own.
"""

import argparse
import asyncio
import random
import socket
import struct
import time
from dataclasses import dataclass

from tests.gateway.crowd import anonymous, dial, gauge
from tests.gateway.crowd import descriptors as descriptors_of
from tests.gateway.support import GatewayProcess, frame, upgrade
from tests.soak.stage import Figures, run, stage
from tests.support.waiting import wait_until

AT_ONCE = 50
WARM = 1000
"""Clients before the first measure: what is allocated once is no leak."""
POOL = 8
RESET = struct.pack("ii", 1, 0)
PER_100_000 = 1024 * 1024


@dataclass(frozen=True)
class Left:
    """What a gateway holds."""

    clients: float
    connections: float
    watches: float
    descriptors: int
    memory: int

    @classmethod
    async def of(cls, gateway: GatewayProcess) -> "Left":
        return cls(
            await gauge(gateway.url, "jobcast_clients"),
            await gauge(gateway.url, "jobcast_connections"),
            await gauge(gateway.url, "jobcast_watches"),
            descriptors_of(gateway.pid),
            anonymous(gateway.pid),
        )

    def is_as(self, before: "Left") -> bool:
        """Whether the counts are back; the pools to Redis keep what they opened, up to their size."""
        ours = (self.clients, self.connections, self.watches)
        return (
            ours == (before.clients, before.connections, before.watches)
            and self.descriptors <= before.descriptors + POOL
        )


async def come_and_go(port: int, number: int) -> None:
    """One client: through either door, gone by close or reset, before or after it was answered."""
    job = f"job-{number % 1000}"
    if number % 4 < 2:
        said = upgrade(port) + frame(f'["subscribe-to-job","{job}",1]')
    else:
        said = upgrade(port, "/socket.io/?EIO=4&transport=websocket")
        said += frame("40") + frame(f'420["subscribe-to-job","{job}"]')
    connection = await dial(port, said=said)
    try:
        told = b""
        while number % 8 and b'"snapshot"' not in told:
            data = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(connection, 65536), 10)
            assert data, told
            told += data
    finally:
        if number % 2:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        connection.close()


async def churn(gateway: GatewayProcess, clients: int) -> None:
    """So many, ``AT_ONCE`` at a time."""
    numbers = iter(random.sample(range(clients), clients))

    async def some() -> None:
        for number in numbers:
            await come_and_go(gateway.port, number)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(some())


async def settled(gateway: GatewayProcess) -> Left:
    """What is left once everybody has been noticed to be gone, and the hub's linger is over."""

    async def empty() -> bool:
        return (await Left.of(gateway)).clients == 0

    await wait_until(empty, 10, "everybody to be forgotten")
    await asyncio.sleep(2.5)
    return await Left.of(gateway)


async def measure(gateway: GatewayProcess, clients: int, parts: int = 1) -> tuple[Left, Left]:
    """Before and after so many clients; what is left is printed after each part of them."""
    await churn(gateway, max(WARM, clients // 10))
    before = after = await settled(gateway)
    print(f"before: {before}")
    for _ in range(parts):
        start, held = time.monotonic(), after.memory
        await churn(gateway, clients // parts)
        took = time.monotonic() - start
        after = await settled(gateway)
        print(f"{clients // parts} clients, {clients / parts / took:.0f}/s: {after}", flush=True)
        print(f"memory: {(after.memory - held) / 1024:+.0f} KiB", flush=True)
    grown = (after.memory - before.memory) / 1024
    print(f"memory in all: {grown:+.0f} KiB, {grown / clients * 100_000:+.0f} KiB per 100,000 clients")
    return before, after


async def main(clients: int) -> bool:
    # As fast as they can: here it is asked what they leave behind.
    async with stage({"JOBCAST_MAX_ADMISSIONS": "1e9"}) as staged:
        before, after = await measure(staged.gateway, clients, parts=5)
    bound = max(2 * PER_100_000, PER_100_000 * clients // 100_000)
    figures = Figures()
    figures.holds("clients, connections, watches and descriptors are as they were", after.is_as(before))
    figures.at_most("memory", (after.memory - before.memory) / 1024, bound / 1024, "KiB more")
    return figures.well


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=200_000)
    run(main(parser.parse_args().clients))
