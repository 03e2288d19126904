"""Clients that send too much, too large or too fast: refused by name, cheap for the gateway, no matter to others."""

import asyncio
import time
from collections import Counter

import pytest

from tests.gateway.attacks import ATTACKS, SOCKET_IO, Attack
from tests.gateway.conftest import StartGateway
from tests.gateway.crowd import anonymous, close, dial, gauge
from tests.gateway.events import progressed, queued, started
from tests.gateway.listeners import WebSocketListener
from tests.gateway.support import GatewayProcess, core, frame, until_ready, upgrade

ATTACKERS = 20
PER_ATTACKER = 256 * 1024
CALLS = 3000


@pytest.fixture
async def warm(start_gateway: StartGateway, redis_url: str) -> GatewayProcess:
    """A gateway that has met some of everything: what it needs once is no attacker's."""
    gateway = start_gateway(redis_url, env={"JOBCAST_WRITE_DEADLINE": "60"})
    await until_ready(gateway)
    for path in ("/ws", SOCKET_IO):
        connections = [await dial(gateway.port, said=upgrade(gateway.port, path) + frame("40")) for _ in range(40)]
        await asyncio.sleep(0.2)
        close(connections)
    await asyncio.sleep(0.2)
    return gateway


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
async def test_a_flood_is_refused_and_costs_less_than_256_kib_an_attacker(warm: GatewayProcess, attack: Attack) -> None:
    async with WebSocketListener.to(warm.url) as neighbour:
        before, peak = anonymous(warm.pid), 0
        under_way = asyncio.gather(*(attack(warm.port) for _ in range(ATTACKERS)))
        slowest = 0.0
        try:
            while not under_way.done() or not peak:
                start = time.monotonic()
                assert (await neighbour.call("get-subscriptions"))["ok"]
                slowest = max(slowest, time.monotonic() - start)
                peak = max(peak, anonymous(warm.pid) - before, 1)
                await asyncio.sleep(0.02)
        finally:
            connections = await under_way
        grown = (anonymous(warm.pid) - before) // ATTACKERS
        print(f"{attack.__name__}: {grown // 1024} KiB an attacker, {peak // ATTACKERS // 1024} KiB at most;")
        print(f"a neighbour's call took {slowest * 1000:.0f} ms at most")
        close(connections)
        assert grown < PER_ATTACKER
        assert slowest < 1
    warm.check_log()


async def test_a_client_that_subscribes_without_end_is_capped_and_stays_usable_and_a_neighbour_hears_everything(
    start_gateway: StartGateway, redis_url: str
) -> None:
    gateway = start_gateway(redis_url, env={"JOBCAST_MAX_CALLS": "500"})
    await until_ready(gateway)
    async with (
        core(redis_url) as parts,
        WebSocketListener.to(gateway.url) as neighbour,
        WebSocketListener.to(gateway.url) as flooder,
    ):
        assert (await neighbour.call("subscribe-to-job", "j"))["ok"]
        await parts.journal.append(queued("j"))
        await parts.journal.append(started("j"))
        memory = anonymous(gateway.pid)

        async def flood() -> None:
            for number in range(CALLS):
                await flooder.send("subscribe-to-job", f"id-{number}", number + 1_000_000)

        flooding, seq, slowest = asyncio.create_task(flood()), 2, 0.0
        begun = time.monotonic()
        while len(flooder.named("ack")) < CALLS and time.monotonic() - begun < 20:
            start = time.monotonic()
            seq += 1
            await parts.journal.append(progressed("j", seq % 100))
            await neighbour.until_seq(seq, 2)
            slowest = max(slowest, time.monotonic() - start)
            await asyncio.sleep(0.05)
        await flooding
        grown = anonymous(gateway.pid) - memory
        codes = Counter(answer.get("code", "ok") for answer in flooder.named("ack"))
        print(
            f"{CALLS} calls, answered in {time.monotonic() - begun:.1f} s: {dict(codes)}; grown by {grown // 1024} KiB"
        )
        print(f"a neighbour's event took {slowest * 1000:.0f} ms at most")
        assert codes["ok"] == 200
        assert codes.keys() == {"ok", "too-many-subscriptions", "rate-limited"}
        assert await gauge(gateway.url, "jobcast_watches") == 201
        assert neighbour.seqs == list(range(1, seq + 1))
        assert slowest < 1.5
        # Usable as before: what it watches is told, and it may leave one and watch another.
        await parts.journal.append(queued("id-7"))
        assert (await flooder.until("job-queued"))["jobId"] == "id-7"
        assert (await flooder.call("unsubscribe-from-job", "id-7"))["ok"]
        assert (await flooder.call("subscribe-to-job", "another"))["ok"]
    gateway.check_log()
