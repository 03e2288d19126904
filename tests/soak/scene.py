"""Where a row is played: the houses and the crowd it asks for, one thing broken, and the promise checked at the end."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.gateway.support import until_ready
from tests.soak.audience import WATCHERS, Audience, audience
from tests.soak.faults import LEVEL_WITHIN, QUIET, say
from tests.soak.pair import Pair, pair
from tests.soak.polling import ByPolling
from tests.soak.proxy import Proxy, proxy
from tests.soak.resuming import DOORS, Resuming
from tests.soak.stage import Figures
from tests.support.waiting import free_port

ALL_DOORS: Final = (*DOORS, ByPolling)
EVENTS_A_TURN: Final = 3.7
"""What a job does in one go is this many events on average: sometimes a burst."""
LOOK: Final = 0.01
LAST_WORDS: Final = 0.15
"""Seconds in which events are still recorded: those that a feed which is not back yet will never carry."""
SLICES: Final = 500
"""Bytes at once through a client's proxy: less than most messages."""


@dataclass(frozen=True)
class Size:
    """``events`` of all jobs together in ``seconds``, which is also how long what lasts is broken."""

    clients: int
    events: int
    seconds: float


@dataclass(frozen=True)
class Row:
    """One line of the table: what is broken, by ``act``, at which size, with which settings.

    ``linked``: the gateways reach Redis through a proxy. ``fronted``: the clients reach the gateways through one each,
    which goes to the other gateway where the first is not there. ``queues``: some of them watch a whole queue.
    """

    fault: str
    act: "Callable[[Scene], Awaitable[None]]"
    size: Size
    doors: Sequence[type[Resuming]] = ALL_DOORS
    config: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    linked: bool = False
    fronted: bool = False
    queues: bool = False


class Scene:
    """A row under way. ``figures`` are times and counts beside their bounds, ``violations`` what no haste excuses."""

    def __init__(self, size: Size, house: Pair, crowd: Audience, fronts: Sequence[Proxy], seed: int) -> None:
        self.size = size
        self.house = house
        self.crowd = crowd
        self.fronts = fronts
        self.chance = random.Random(seed)
        self.figures = Figures()
        self.violations: list[str] = []

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def expect(self, what: str, well: bool) -> None:
        """Something that must hold on the slowest machine."""
        self.figures.holds(what, well)
        if not well:
            self.violations.append(f"not so: {what}")

    async def published(self, share: float) -> None:
        """Wait for this share of the row's events."""
        async with asyncio.timeout(10 + 10 * self.size.seconds):
            while self.crowd.events < share * self.size.events:
                self.crowd.check()
                await asyncio.sleep(LOOK)

    async def until(
        self, condition: Callable[[], bool], what: str, start: float, timeout: float = LEVEL_WITHIN
    ) -> float:
        """The seconds from ``start`` until it holds."""
        while not condition():
            self.crowd.check()
            if self.now > start + timeout:
                self.violations.append(f"{timeout:g} s were not enough for {what}")
                break
            await asyncio.sleep(LOOK)
        return self.now - start

    async def until_level(self, after: str, start: float) -> float:
        """The seconds from ``start`` until both gateways are ready, and all have been told what is recorded then.

        A look at the clients alone would find them level at once, if only nothing was recorded meanwhile.
        """
        for gateway in self.house.gateways:
            with contextlib.suppress(AssertionError):
                await until_ready(gateway, LEVEL_WITHIN)
        if await self.crowd.until_level(LEVEL_WITHIN) is None:
            self.violations.append(f"{LEVEL_WITHIN:g} s after {after} not everybody is level")
        return self.now - start

    async def until_level_in_silence(self, after: str, start: float) -> float:
        """The same, and soon nothing is recorded any more: the next event of a job would show what is missing."""
        await asyncio.sleep(LAST_WORDS)
        self.crowd.hold()
        took = await self.until_level(after, start)
        self.crowd.go_on()
        return took

    async def finish(self) -> None:
        """Let the jobs end, give everybody time, and check."""
        await self.house.repaired()
        self.crowd.go_on()
        await self.crowd.all_over()
        await self.until_level("the last event", self.now)
        await asyncio.sleep(QUIET)
        self.crowd.check()
        await self.crowd.leave()
        self.violations += self.crowd.violations()


async def play(row: Row, size: Size, seed: int, binary: Path) -> Scene:
    """Start everything, let the row act, check, and end everything."""
    async with contextlib.AsyncExitStack() as stack:
        house = await stack.enter_async_context(
            pair(binary, config=row.config, environment=row.environment, linked=row.linked)
        )
        fronts = await _fronts(stack, house, seed) if row.fronted else []
        urls = [f"http://127.0.0.1:{front.port}" for front in fronts] or house.urls
        crowd = await stack.enter_async_context(
            audience(house.redis.url, urls, size.clients, seed, doors=row.doors, rate=_rate(size), queues=row.queues)
        )
        crowd.begin(size.seconds, lasting=True)
        scene = Scene(size, house, crowd, fronts, seed)
        await scene.until(lambda: all(each.present for each in crowd.clients), "everybody to be there", scene.now, 60)
        await row.act(scene)
        await scene.finish()
        say(crowd)
    scene.violations += house.complaints
    scene.figures.holds(f"the promise was kept: {len(scene.violations)} violations", not scene.violations)
    return scene


async def _fronts(stack: contextlib.AsyncExitStack, house: Pair, seed: int) -> list[Proxy]:
    ports = [gateway.port for gateway in house.gateways]
    fronts = []
    for number, targets in enumerate((ports, ports[::-1])):
        chance = random.Random(f"{seed}-front-{number}")
        front = await stack.enter_async_context(proxy(targets, free_port(), chance))
        front.slices = SLICES
        fronts.append(front)
    return fronts


def _rate(size: Size) -> float:
    """Turns a second of each job: a third is brief, and of the others every second one ends early, by chance."""
    jobs = -(-size.clients // WATCHERS)
    return size.events / size.seconds / EVENTS_A_TURN / (jobs * 0.5)
