"""Hundreds that open a connection and do not go on, of each kind: closed in time while real clients are served."""

import argparse
import asyncio
import contextlib

from tests.gateway.crowd import descriptors, gauge
from tests.gateway.idlers import BODY, CONNECT, HEADER, SILENT, last
from tests.soak.neighbour import neighbour
from tests.soak.stage import Figures, Spell, run, stage
from tests.support.waiting import wait_until

FIGURES = {SILENT: 5.0, HEADER: 5.0, CONNECT: 5.0, BODY: 10.0}
"""The gateway's defaults."""
SLACK = 1.0
"""Seconds beyond: they are counted from before the client connected, and two thousand connect at once."""
QUIET = 3.0
"""Seconds to see what a call takes without them."""


async def main(each: int) -> bool:
    figures = Figures()
    async with stage() as staged:
        gateway = staged.gateway
        async with neighbour(gateway.port, "call") as took:
            await asyncio.sleep(QUIET)
        print(f"a call of a real client: {Spell(took)}", flush=True)
        before = descriptors(gateway.pid)
        async with neighbour(gateway.port, "call") as took:
            lasted = await last(gateway.port, each)
        print(f"while {each} of each kind are there: {Spell(took)}", flush=True)
        for kind, times in lasted.items():
            what = f"{len(times)} times {kind}: closed from {times[0]:.2f} s on, the last after"
            figures.at_most(what, times[-1], FIGURES[kind] + SLACK, "s")
            figures.holds("never before the figure", times[0] >= FIGURES[kind])
        with contextlib.suppress(AssertionError):
            await wait_until(lambda: descriptors(gateway.pid) <= before, 3)
        figures.at_most("descriptors left", descriptors(gateway.pid) - before, 0)
        figures.at_most("clients left", await gauge(gateway.url, "jobcast_clients"), 0)
    return figures.well


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=500)
    run(main(parser.parse_args().each))
