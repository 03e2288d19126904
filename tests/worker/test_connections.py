"""What a worker asks of Redis and of its own connections to it."""

import asyncio

from redis.crc import key_slot

from jobcast import Context
from jobcast.shared import keys
from jobcast.shared.keys import Keys
from tests.worker.conftest import Bench


async def test_what_many_jobs_tell_at_once_goes_over_one_connection(bench: Bench) -> None:
    """Joined there, it costs a worker a third of what a connection for each call does: see tests/shared/test_joined."""
    together = asyncio.Barrier(8)

    @bench.handler()
    async def go(ctx: Context) -> None:
        async with together:
            await asyncio.gather(*(ctx.log("a line") for _ in range(4)))

    jobs = [await bench.submit() for _ in range(8)]
    async with bench.worker(concurrency=8):
        for job_id in jobs:
            await bench.ended(job_id)
        names = [each["name"] for each in await bench.commands.client_list()]
    assert 0 < names.count("jobcast-journal") <= 2


def test_one_append_touches_keys_of_several_slots() -> None:
    """Trap 26: BullMQ's bulk and flow calls fail on a cluster; so would the journal, and it says so."""
    names = Keys()
    touched = [names.state("j1"), names.history("j1"), names.queue_index("work"), names.queues()]
    slots = [key_slot(name.encode()) for name in touched]
    assert slots[0] == slots[1]
    assert len(set(slots)) > 1
    assert "not\nclustered" in (keys.__doc__ or "")
