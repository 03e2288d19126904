"""What each gateway holds of memory while it is broken and started again: samples, and the line through them."""

import asyncio
import contextlib
import statistics
from pathlib import Path
from typing import Final

from tests.soak.pair import Pair

WARM: Final = 20.0
"""Seconds until the first sample counts: a process that has just begun still grows."""
EACH: Final = 1.0
AGED: Final = 5.0
"""A gateway that was started again counts once it is so old, in seconds."""


def resident(pid: int) -> float:
    """RSS in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 2**20


class Resident:
    """:meth:`watch` is a task. Faults replace the processes, so the line goes through all that served at one port."""

    def __init__(self, house: Pair) -> None:
        self._house = house
        self._samples: list[list[tuple[float, float]]] = [[] for _ in house.gateways]
        self._born: list[tuple[int, float]] = [(0, 0.0)] * len(house.gateways)

    async def watch(self) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        while True:
            await asyncio.sleep(EACH)
            now = loop.time() - start
            for number, gateway in enumerate(self._house.gateways):
                if self._born[number][0] != gateway.pid:
                    self._born[number] = (gateway.pid, now)
                with contextlib.suppress(OSError, IndexError, ValueError):
                    size = resident(gateway.pid)
                    if size and now >= WARM and (now - self._born[number][1] >= AGED):
                        self._samples[number].append((now, size))

    def say(self) -> None:
        for number, samples in enumerate(self._samples):
            if len(samples) < 2:
                print(f"memory of gateway {number}: too short a run to say (from {WARM:g} s on)", flush=True)
                continue
            times, sizes = zip(*samples, strict=True)
            slope = statistics.linear_regression(times, sizes).slope * 60
            print(
                f"memory of gateway {number}: {sizes[0]:.1f} MiB at {times[0]:.0f} s, {sizes[-1]:.1f} MiB at "
                f"{times[-1]:.0f} s, at most {max(sizes):.1f} MiB; {slope:+.3f} MiB a minute",
                flush=True,
            )
