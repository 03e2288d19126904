"""Row 9: clients whose network breaks every connection within seconds."""

import asyncio
from typing import Final

from tests.soak.faults import LEVEL_WITHIN
from tests.soak.scene import Scene

LIFETIME: Final = (1.0, 3.0)


async def flapped(scene: Scene) -> None:
    for front in scene.fronts:
        front.lifetime = LIFETIME
        # Those that are there already were given no end.
        front.reset()
    end = scene.now + scene.size.seconds
    while scene.now < end:
        scene.crowd.check()
        await asyncio.sleep(0.2)
    for front in scene.fronts:
        front.calm()
    resets = sum(front.resets for front in scene.fronts)
    scene.expect(f"{resets} connections were reset", resets > len(scene.crowd.clients))
    took = await scene.until_level("the last reset", scene.now)
    scene.figures.at_most("level after the last reset", took, LEVEL_WITHIN, "s")
    await scene.published(1)
