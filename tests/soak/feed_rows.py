"""Rows 5 and 6: the gateways lose the subscriber connection alone, again and again, or by not reading it."""

import asyncio
from typing import Final

from tests.gateway.support import GatewayProcess
from tests.soak.breaking import overflow
from tests.soak.faults import LEVEL_WITHIN
from tests.soak.scene import Scene
from tests.support.waiting import wait_until

KILL_EVERY: Final = 0.2
STOPPED: Final = 5.0
TRAFFIC: Final = 1.5
"""Seconds events are recorded after the feed was closed: those are the ones it never carried."""


async def killed_again_and_again(scene: Scene) -> None:
    end, kills = scene.now + scene.size.seconds, 0
    with scene.house.redis.client() as redis:
        while scene.now < end:
            kills += redis.client_kill_filter(_type="pubsub")
            scene.crowd.check()
            await asyncio.sleep(KILL_EVERY)
    scene.expect(f"{kills} subscriber connections were killed", kills > 0)
    took = await scene.until_level_in_silence("the last kill", scene.now)
    scene.figures.at_most("level after the last kill", took, LEVEL_WITHIN, "s")
    await scene.published(1)


async def overflowed(scene: Scene) -> None:
    """A gateway stands still, Redis closes its feed, events are recorded, and then nothing more happens at all."""
    await scene.published(0.5)
    gateway = scene.house.gateways[0]
    gateway.pause()
    start = scene.now
    try:
        await overflow(scene.house, scene.crowd)
        await _closed_by_redis(scene)
        before = scene.crowd.events
        await asyncio.sleep(TRAFFIC)
        scene.crowd.hold()
        scene.expect(f"{scene.crowd.events - before} events were recorded meanwhile", scene.crowd.events > before)
        await asyncio.sleep(max(0.5, start + STOPPED - scene.now))
    finally:
        gateway.resume()
    took = await scene.until_level("the gateway goes on", scene.now)
    scene.figures.at_most("the gap is found without new traffic", took, 2, "s")
    _has_lost_its_feed(scene, gateway)
    scene.crowd.go_on()
    await scene.published(1)


async def _closed_by_redis(scene: Scene) -> None:
    with scene.house.redis.client() as redis:
        await wait_until(lambda: len(redis.client_list(_type="pubsub")) == 1, 5, "Redis to close the feed")


def _has_lost_its_feed(scene: Scene, gateway: GatewayProcess) -> None:
    scene.expect("the gateway found its feed closed", "the feed from Redis was lost" in gateway.stderr)
