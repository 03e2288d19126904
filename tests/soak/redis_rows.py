"""Rows 1 to 4: Redis is killed, comes back empty, hangs, or is behind a link that lost it."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from tests.gateway.crowd import gauge
from tests.gateway.support import GatewayProcess, is_ready
from tests.soak.checker import Entry, Snapped
from tests.soak.faults import LEVEL_WITHIN
from tests.soak.resuming import Resuming
from tests.soak.scene import Scene
from tests.support.waiting import wait_until

DOWN: Final = (0.0, 0.5, 2.0)
"""Seconds Redis stays away: a supervisor starts it again at once, or not."""
NOTICED_WITHIN: Final = 3.0


async def killed(scene: Scene) -> None:
    """As a power cut, three times within the events; what was recorded is there again."""
    last = 0.0
    for number, down in enumerate(DOWN, start=1):
        last = scene.chance.uniform(last + 0.1, number / len(DOWN) - 0.05)
        await scene.published(last)
        scene.house.redis.kill()
        await asyncio.sleep(down)
        await scene.house.start_redis(empty=False)
        took = await scene.until_level_in_silence(f"Redis was away for {down:g} s", scene.now)
        scene.figures.at_most(f"level once Redis accepts, after {down:g} s and its start", took, 1, "s")
    await scene.published(1)
    lives = max(len(each.truth.epochs) for each in scene.crowd.publishers)
    scene.expect(f"no record was begun anew: each has {lives} life", lives == 1)


async def emptied(scene: Scene) -> None:
    """Everybody is told that what they knew is over: who waits for a job that lives, and who saw one end."""
    await scene.published(0.5)
    await scene.until_level("the events before", scene.now)
    crowd = scene.crowd
    over = [each for each in crowd.publishers if each.brief]
    scene.expect(f"{len(over)} jobs were over before", bool(over))
    before = [(client, len(client.log), client.position) for client in crowd.clients]
    scene.house.redis.kill()
    await scene.house.start_redis(empty=True)
    told = await scene.until(
        lambda: all(_was_reset(client, mark, position and position.epoch) for client, mark, position in before),
        "everybody to be told by a snapshot",
        scene.now,
    )
    scene.figures.at_most("everybody told by reset and snapshot once Redis accepts", told, 2, "s")
    await scene.published(1)


def _was_reset(client: Resuming, mark: int, epoch: str | None) -> bool:
    return any(_begins_anew(entry, epoch) for entry in client.log[mark:])


def _begins_anew(entry: Entry, epoch: str | None) -> bool:
    return isinstance(entry, Snapped) and (entry.position is None or entry.position.epoch != epoch)


async def hung(scene: Scene) -> None:
    """Connections stay open and nothing is answered."""
    await scene.published(0.3)
    start = scene.now
    scene.house.redis.pause()
    try:
        await _notice(scene, start)
        await asyncio.sleep(max(0, start + scene.size.seconds - scene.now))
    finally:
        scene.house.redis.resume()
    await _recover(scene, "Redis went on")


async def half_open(scene: Scene) -> None:
    """What the gateways say is taken and goes nowhere; the old connections stay so when new ones pass again."""
    link = scene.house.link
    assert link is not None
    await scene.published(0.3)
    start = scene.now
    link.blackhole()
    await _notice(scene, start)
    await asyncio.sleep(max(0, start + scene.size.seconds - scene.now))
    link.heal()
    await _recover(scene, "the link passes again")


async def _notice(scene: Scene, start: float) -> None:
    """By both gateways, in what an operator looks at."""
    gateways = scene.house.gateways
    unready = asyncio.gather(*(_unready(each, start) for each in gateways))
    counted = asyncio.gather(*(_counted(each, start) for each in gateways))
    scene.figures.at_most("noticed, by /readyz", max(await unready), NOTICED_WITHIN, "s")
    scene.figures.at_most("noticed, by jobcast_feed_alive", max(await counted), NOTICED_WITHIN, "s")


async def _unready(gateway: GatewayProcess, start: float) -> float:
    async def noticed() -> bool:
        return not await is_ready(gateway.url)

    return await _seconds(noticed, start)


async def _counted(gateway: GatewayProcess, start: float) -> float:
    async def noticed() -> bool:
        return await gauge(gateway.url, "jobcast_feed_alive") == 0

    return await _seconds(noticed, start)


async def _seconds(condition: Callable[[], Awaitable[bool]], start: float) -> float:
    """From the start until it holds, but at most for the time everybody has."""
    with contextlib.suppress(AssertionError):
        await wait_until(condition, LEVEL_WITHIN)
    return asyncio.get_running_loop().time() - start


async def _recover(scene: Scene, after: str) -> None:
    took = await scene.until_level_in_silence(after, scene.now)
    scene.figures.at_most(f"level after {after}", took, LEVEL_WITHIN, "s")
    await scene.published(1)
