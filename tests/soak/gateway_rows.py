"""Rows 7 and 8: a gateway is gone at once, or is asked to leave."""

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import AsyncIterator
from typing import Final

import httpx

from jobcast.shared.journal import RedisJournal
from jobcast.shared.redis import connect
from tests.gateway.crowd import gauge
from tests.gateway.events import progressed, queued, started
from tests.gateway.support import GatewayProcess, frame, http, stalled_socket, upgrade
from tests.soak.checker import Opened
from tests.soak.faults import LEVEL_WITHIN
from tests.soak.light import LightClassic, LightSocketIo, LightWebSocket
from tests.soak.polling import ByPolling
from tests.soak.resuming import BySocketIo, BySse, ByWebSocket, Classic, Resuming
from tests.soak.scene import LOOK, Scene
from tests.soak.stage import Spell

DRAIN: Final = 5.0
ROLLING: Final = {
    "JOBCAST_DRAIN": f"{DRAIN:g}",
    # Those who do not read are still there when the gateway is to end: nothing else lets them go.
    "JOBCAST_WRITE_DEADLINE": "60",
}
CLOSES_A_SECOND: Final = 200
STALLED: Final = 10
MOST_IN_A_TENTH: Final = 0.25
"""Of all closes, in any tenth of the window; even is 0.1."""
READINGS: Final = "jobcast_readings_total"
MOST_READINGS: Final = 1.2
LIGHT: Final = (LightWebSocket, BySse, LightSocketIo, LightClassic)
CROWD: Final = (Classic, ByWebSocket, Classic, BySse, Classic, BySocketIo, Classic, ByPolling)
"""All clients of a job begin at one gateway, and half of them come to the other without a position."""


async def killed(scene: Scene) -> None:
    """Its clients resume at the other one."""
    await scene.published(0.4)
    await scene.until_level("the events before", scene.now)
    waited = {client: client.waited for client in scene.crowd.clients}
    start, own = scene.now, time.process_time()
    scene.house.gateways[0].kill()
    await scene.crowd.until_level(LEVEL_WITHIN)
    own = time.process_time() - own
    lost = [client for client in scene.crowd.clients if client.left_at >= start]
    scene.expect(f"{len(lost)} clients lost their gateway", bool(lost))
    took = sorted(client.taken_at - start - (client.waited - waited[client]) for client in lost)
    spell = Spell(took)
    print(f"     taken by the other, their own back-off not counted: {spell}")
    print(f"     the clients' own process took {own:.1f} s of CPU until all were level")
    scene.figures.at_most("p99 until taken by the other, beside the back-off", spell.p99 / 1000, 2, "s")
    scene.house.replace_gateway(0)
    await scene.house.repaired()
    await scene.published(1)


async def rolled(scene: Scene) -> None:
    """One after the other, each with clients that do not read."""
    await scene.published(0.2)
    for number in range(len(scene.house.gateways)):
        await _roll(scene, number)
        scene.house.replace_gateway(number)
        await scene.house.repaired()
        await scene.until_level("the restart", scene.now)
    await scene.published(1)


async def _roll(scene: Scene, number: int) -> None:
    gateway, other = scene.house.gateways[number], scene.house.gateways[1 - number]
    before = await gauge(other.url, READINGS)
    marks = {client: len(client.log) for client in scene.crowd.clients}
    async with _stalled(scene, gateway):
        seen: list[str] = []
        states = asyncio.create_task(_states(gateway, seen))
        await scene.until(lambda: bool(seen), "the gateway to say that it is ready", scene.now, 5)
        start = scene.now
        gateway.signal(signal.SIGTERM)
        await scene.until(lambda: gateway.exit_code is not None, "the gateway to end", start, DRAIN + 10)
        took = scene.now - start
    scene.expect(f"ended with exit code {gateway.exit_code}", gateway.exit_code == 0)
    scene.figures.at_most("from SIGTERM to the end, with clients that do not read", took, DRAIN + 1, "s")
    await states
    await scene.crowd.until_level(LEVEL_WITHIN)
    lost = [client for client in scene.crowd.clients if client.left_at >= start]
    # With nobody to let go it may be gone between two looks.
    told_so = seen[-2:] == ["503", "closed"] or not lost
    scene.expect(f"not ready before the port closed: {' '.join(seen)}", told_so)
    _spread(scene, lost, start)
    _readings(scene, lost, marks, await gauge(other.url, READINGS) - before)


def _readings(scene: Scene, lost: list[Resuming], marks: dict[Resuming, int], readings: float) -> None:
    """Who came with a position was answered from the history, one reading each; the others are to share theirs."""
    asked = [entry for client in lost for entry in client.log[marks[client] :] if isinstance(entry, Opened)]
    afresh = sum(entry.since is None for entry in asked)
    jobs = len({client.job_id for client in lost})
    print(f"     of {jobs} jobs {len(asked)} clients moved, {afresh} without a position; {readings:g} readings")
    snapshots = readings - (len(asked) - afresh)
    scene.figures.at_most("snapshot readings for each job", snapshots / max(1, jobs), MOST_READINGS)


def _spread(scene: Scene, lost: list[Resuming], start: float) -> None:
    """The window is what the drain allows, or as long as so many closes take."""
    if not lost:
        print("     nobody was there to be let go")
        return
    window = min(0.8 * DRAIN, len(lost) / CLOSES_A_SECOND)
    tenths = [0] * 11
    for client in lost:
        tenths[min(10, int(10 * (client.left_at - start) / window))] += 1
    print(f"     {len(lost)} closes, by tenths of {window:.1f} s: {tenths}")
    scene.figures.at_most("the most closes in a tenth of the window", max(tenths) / len(lost), MOST_IN_A_TENTH)


async def _states(gateway: GatewayProcess, found: list[str]) -> None:
    """What ``/readyz`` says until nobody listens any more, each once."""
    while found[-1:] != ["closed"]:
        # An answer that is late or cut off on a busy machine says nothing; nobody who listens says it all.
        with contextlib.suppress(httpx.HTTPError):
            state = "closed"
            with contextlib.suppress(httpx.ConnectError):
                async with http(gateway.url) as client:
                    state = str((await client.get("/readyz")).status_code)
            if found[-1:] != [state]:
                found.append(state)
        await asyncio.sleep(LOOK)


@contextlib.asynccontextmanager
async def _stalled(scene: Scene, gateway: GatewayProcess) -> AsyncIterator[None]:
    """Clients of a loud job that take the head of the answer and read no more."""
    redis, job = connect(scene.house.redis.url, name="soak"), f"loud-{gateway.port}"
    journal, idle = RedisJournal(redis), list[socket.socket]()
    try:
        for event in (queued(job), started(job)):
            await journal.append(event)
        call = frame(f'["subscribe-to-job","{job}"]')
        idle += [await stalled_socket(gateway.port, upgrade(gateway.port), call) for _ in range(STALLED)]
        for percent in range(100):
            await journal.append(progressed(job, percent, details="x" * 20_000))
        yield
    finally:
        for connection in idle:
            connection.close()
        await redis.aclose()
