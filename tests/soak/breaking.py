"""The faults: each breaks one thing, mends it, and returns at the moment from which all should be well again."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

from jobcast.shared.keys import Keys
from tests.soak.audience import Audience
from tests.soak.pair import Pair

Fault = Callable[[Pair, Audience, random.Random], Awaitable[None]]

JUNK: Final = 70_000
"""Bytes of each message that overflows a feed: no event, so it is kept out where it arrives."""
OVERFLOW: Final = 200


async def kill_redis(pair: Pair, _audience: Audience, chance: random.Random) -> None:
    """As a power cut: what was recorded is there again."""
    pair.redis.kill()
    await asyncio.sleep(chance.uniform(0, 2))
    await pair.start_redis(empty=False)


async def empty_redis(pair: Pair, _audience: Audience, chance: random.Random) -> None:
    """A Redis that comes back with nothing: every record begins another life."""
    pair.redis.kill()
    await asyncio.sleep(chance.uniform(0, 1))
    await pair.start_redis(empty=True)


async def hang_redis(pair: Pair, _audience: Audience, chance: random.Random) -> None:
    """Connections stay open and nothing is answered, for less and for longer than a gateway's patience."""
    pair.redis.pause()
    await asyncio.sleep(chance.uniform(0.5, 4))
    pair.redis.resume()


async def kill_feeds(pair: Pair, _audience: Audience, chance: random.Random) -> None:
    """The gateways' subscriber connections alone, again and again."""
    with pair.redis.client() as redis:
        for _ in range(chance.randint(1, 8)):
            redis.client_kill_filter(_type="pubsub")
            await asyncio.sleep(0.2)


async def kill_gateway(pair: Pair, _audience: Audience, chance: random.Random) -> None:
    """Its clients resume at the other one."""
    number = chance.randrange(len(pair.gateways))
    pair.gateways[number].kill()
    pair.replace_gateway(number)


async def roll_gateway(pair: Pair, _audience: Audience, chance: random.Random) -> None:
    """SIGTERM, as in a rolling restart."""
    number = chance.randrange(len(pair.gateways))
    await pair.end_gateway(number)
    pair.replace_gateway(number)


async def hang_gateway(pair: Pair, audience: Audience, chance: random.Random) -> None:
    """It stands still while its feed overflows, so that Redis closes the connection with events unsent."""
    gateway = chance.choice(pair.gateways)
    seconds = chance.uniform(2, 5)
    gateway.pause()
    try:
        await overflow(pair, audience)
        await asyncio.sleep(seconds)
    finally:
        gateway.resume()


async def overflow(pair: Pair, audience: Audience) -> None:
    """More than a feed that is not read holds, on the channel of a job both gateways follow."""
    await asyncio.to_thread(_overflow, pair, Keys().channel(audience.publishers[0].job_id))


def _overflow(pair: Pair, channel: str) -> None:
    with pair.redis.client() as redis:
        for _ in range(OVERFLOW):
            redis.publish(channel, "x" * JUNK)


async def reset_clients(_pair: Pair, audience: Audience, chance: random.Random) -> None:
    """Half of the clients lose their connection, and some of them the next one too."""
    for _ in range(chance.randint(1, 6)):
        for client in chance.sample(audience.clients, len(audience.clients) // 2):
            client.reset()
        await asyncio.sleep(chance.uniform(0, 0.5))


FAULTS: Final[dict[str, Fault]] = {
    "kill-redis": kill_redis,
    "empty-redis": empty_redis,
    "hang-redis": hang_redis,
    "kill-feeds": kill_feeds,
    "kill-gateway": kill_gateway,
    "roll-gateway": roll_gateway,
    "hang-gateway": hang_gateway,
    "reset-clients": reset_clients,
}
