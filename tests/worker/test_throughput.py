"""What a worker gets done is counted by BullMQ itself, in the step that ends a job."""

from jobcast import Context, Unrecoverable
from jobcast.shared.throughput import Throughputs
from tests.worker.conftest import Bench


async def test_ends_are_counted_by_the_minute_and_told_once_enough_is_known(bench: Bench) -> None:
    @bench.handler()
    async def go(context: Context) -> None:
        if context.data == "bad":
            raise Unrecoverable("bad")

    async with bench.worker():
        for data in ("good", "good", "good", "bad"):
            await bench.ended(await bench.submit(data))
    throughputs = Throughputs(bench.queues)
    assert (await throughputs.read("work")).completed_per_minute is None
    for kind in ("completed", "failed"):
        key = f"bull:work:metrics:{kind}"
        await bench.client.hincrby(key, "prevTS", -120_000)  # as it will be in two minutes
    assert int(await bench.client.hget("bull:work:metrics:completed", "count") or 0) == 3
    told = await throughputs.read("work")
    assert 0.5 < (told.completed_per_minute or 0) < 3.1
    assert 0.2 < (told.failed_per_minute or 0) < 1.1
    assert told.wait == 0
