"""One search for steps that break the journal, on a Redis of its own."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import redis
import uvloop
from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as seeded
from hypothesis.stateful import run_state_machine_as_test

from jobcast.shared.redis import connect
from tests.shared.twins import END, Twins

ANY_SPEED = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


def search(redis_url: str, *, seed: int, examples: int, steps: int) -> type[Twins]:
    """Play so many examples of at most so many steps each; the machine that played them has their counts.

    Raises:
        AssertionError: of the smallest example that was found to break it, its steps printed.
    """

    class Here(Twins):
        """The machine on this server."""

    with _on(redis_url, Here):
        how = settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=ANY_SPEED,
            database=None,
            phases=(Phase.generate, Phase.shrink),
        )
        run_state_machine_as_test(seeded(seed)(Here), settings=how)
    return Here


@contextmanager
def _on(redis_url: str, machine: type[Twins]) -> Iterator[None]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, redis.Redis.from_url(redis_url) as plain:
        client = connect(redis_url, name="twins")
        heard = plain.pubsub()
        heard.psubscribe("jobcast:*")
        heard.subscribe(END)
        machine.loop, machine.client, machine.heard = runner.get_loop(), client, heard
        try:
            yield
        finally:
            heard.close()
            runner.run(client.aclose())
