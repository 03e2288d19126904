"""Each attack of many clients at once, again and again: what it costs in memory, and what the loop lags for others."""

import argparse
import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from tests.gateway.attacks import ATTACKS, SOCKET_IO, Attack
from tests.gateway.crowd import anonymous, close, dial
from tests.gateway.support import GatewayProcess, frame, upgrade
from tests.soak.neighbour import neighbour
from tests.soak.stage import Figures, Spell, run, stage

PER_ATTACKER = 256
"""KiB."""
LAG = 20.0
"""Milliseconds at p99."""
LOOK = 0.1


async def warm(port: int) -> None:
    """Let the gateway meet some of everything: what it needs once is no attacker's."""
    for path in ("/ws", SOCKET_IO):
        connections = [await dial(port, said=upgrade(port, path) + frame("40")) for _ in range(100)]
        await asyncio.sleep(0.2)
        close(connections)


class Peak:
    """The most memory the gateway had within."""

    def __init__(self, pid: int) -> None:
        self.before = self.most = anonymous(pid)
        self._pid = pid

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._look())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _look(self) -> None:
        while True:
            self.most = max(self.most, anonymous(self._pid))
            await asyncio.sleep(LOOK)


async def again_and_again(attack: Attack, port: int, until: float) -> int:
    """One attacker: the times it attacked."""
    times = 0
    while time.monotonic() < until:
        (await attack(port)).close()
        times += 1
    return times


async def soak(attack: Attack, gateway: GatewayProcess, attackers: int, seconds: float, figures: Figures) -> None:
    peak = Peak(gateway.pid)
    async with neighbour(gateway.port, "ping") as took, peak.watched():
        until = time.monotonic() + seconds
        times = sum(await asyncio.gather(*(again_and_again(attack, gateway.port, until) for _ in range(attackers))))
    lag = Spell(took)
    print(f"{attack.__name__}, {times} times by {attackers}; a neighbour's ping {lag}")
    figures.at_most("  memory an attacker", (peak.most - peak.before) / attackers / 1024, PER_ATTACKER, "KiB")
    figures.at_most("  lag at p99", lag.p99, LAG, "ms")


async def main(attackers: int, seconds: float, only: str) -> bool:
    figures = Figures()
    async with stage() as staged:
        gateway = staged.gateway
        await warm(gateway.port)
        async with neighbour(gateway.port, "ping") as took:
            await asyncio.sleep(seconds)
        print(f"a neighbour's ping without attackers: {Spell(took)}", flush=True)
        for attack in ATTACKS:
            if only in attack.__name__:
                await soak(attack, gateway, attackers, seconds, figures)
    return figures.well


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--attackers", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--only", default="", help="a part of an attack's name")
    given = parser.parse_args()
    run(main(given.attackers, given.seconds, given.only))
