"""Who opens a connection and does not go on is closed within its figure, and real clients are served meanwhile."""

import asyncio
import time

from tests.gateway.conftest import StartGateway
from tests.gateway.crowd import descriptors, gauge
from tests.gateway.events import progressed, queued, started
from tests.gateway.idlers import BODY, CONNECT, HEADER, SILENT, last
from tests.gateway.listeners import WebSocketListener
from tests.gateway.support import core, until_ready
from tests.support.waiting import wait_until

ATTACKERS = 100
FIGURES = {SILENT: 5.0, HEADER: 5.0, CONNECT: 5.0, BODY: 2.0}
SLACK = 0.7
"""Seconds the client's own hundreds of sockets, the wheel's tick and a busy machine may add."""


async def test_a_hundred_of_each_that_do_not_go_on_are_closed_within_the_figure_and_a_client_is_served_throughout(
    start_gateway: StartGateway, redis_url: str
) -> None:
    gateway = start_gateway(redis_url, env={"JOBCAST_BODY_DEADLINE": str(FIGURES[BODY])})
    await until_ready(gateway)

    async with WebSocketListener.to(gateway.url) as real, core(redis_url) as parts:
        assert (await real.call("subscribe-to-job", "j"))["ok"]
        await parts.journal.append(queued("j"))
        await parts.journal.append(started("j"))
        before = descriptors(gateway.pid)
        attack = asyncio.create_task(last(gateway.port, ATTACKERS))
        seq, slowest = 2, 0.0
        while not attack.done():
            start = time.monotonic()
            seq += 1
            await parts.journal.append(progressed("j", seq % 100))
            await real.until_seq(seq, 2)
            slowest = max(slowest, time.monotonic() - start)
            await asyncio.sleep(0.1)
        lasted = await attack
        for kind, figure in FIGURES.items():
            ours = lasted[kind]
            print(f"{kind}: closed after {ours[0]:.2f} to {ours[-1]:.2f} s")
            assert ours[0] >= figure - 0.2, kind
            assert ours[-1] <= figure + SLACK, kind
        print(f"an event took {slowest * 1000:.0f} ms at most")
        assert real.seqs == list(range(1, seq + 1))
        await wait_until(lambda: descriptors(gateway.pid) <= before + 1, 3, "their descriptors to be free")
        assert await gauge(gateway.url, "jobcast_clients") == 1
    gateway.check_log()
