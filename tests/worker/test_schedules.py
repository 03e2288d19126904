"""Schedules on real Redis with a real worker: made, listed, changed, removed, and gone on with whatever happens."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from bullmq import Queue
from msgspec.structs import replace

from jobcast import Context
from jobcast.shared.errors import BadRequest
from jobcast.shared.events import JobFailed, JobQueued
from jobcast.shared.options import JobOptions, Keep
from jobcast.shared.planned import Planned
from jobcast.shared.schedule import Repeat, Schedule
from jobcast.shared.schedules import Schedules
from jobcast.worker.consumer import Consumer, Timing
from jobcast.worker.queues import QueueDefinition
from jobcast.worker.taken import TakenJob
from tests.support.waiting import wait_until
from tests.worker.conftest import QUICK, Bench

NEVER = 3600.0
OFTEN = 0.1
LONG_LOCK = Timing(lock=60.0, renew=20.0, stalled_check=60.0, idle=1.0)
WORK = QueueDefinition("work")
BEAT = Schedule(queue="work", id="beat", name="go", repeat=Repeat(every=200))
HOURLY = Schedule(queue="work", id="hourly-orders-42", name="go", repeat=Repeat(every=3_600_000, offset=1))


@pytest.fixture
def schedules(bench: Bench) -> Schedules:
    return Schedules(bench.queues)


@pytest.fixture
def runs(bench: Bench) -> list[str]:
    """The ids of the jobs that ran, with a handler that notes them."""
    found: list[str] = []

    @bench.handler()
    async def go(context: Context) -> None:
        found.append(context.job_id)

    return found


async def _only(schedules: Schedules, queue: str = "work") -> Planned:
    [planned] = await schedules.listed(queue)
    return planned


def _slots(runs: list[str]) -> list[int]:
    return [int(job_id.rpartition(":")[2]) for job_id in runs]


async def _goes_on(runs: list[str], more: int = 2) -> None:
    have = len(runs)
    await wait_until(lambda: len(runs) >= have + more, 5, "the schedule to go on")
    assert len(set(runs)) == len(runs)


# Made, listed, changed, removed.


async def test_a_schedule_started_twice_is_one(bench: Bench, schedules: Schedules) -> None:
    assert await schedules.upsert(HOURLY)
    first = await _only(schedules)
    assert not await schedules.upsert(HOURLY)
    assert await _only(schedules) == first
    assert await bench.client.zcard("bull:work:delayed") == 1


async def test_a_schedule_is_listed_with_its_terms(schedules: Schedules) -> None:
    opts = JobOptions(priority=3, attempts=5, remove_on_complete=True)
    repeat = Repeat(pattern="0 0 * * *", tz="Europe/Berlin", limit=7, end_date=datetime(2100, 1, 1, tzinfo=UTC))
    await schedules.upsert(
        Schedule(queue="work", id="clean-up", name="cleanup", repeat=repeat, data={"days": 30}, opts=opts)
    )
    planned = await _only(schedules)
    assert (planned.id, planned.name, planned.data, planned.ran, planned.is_over) == (
        "clean-up", "cleanup", {"days": 30}, 0, False,
    )  # fmt: skip
    assert planned.repeat == {
        "pattern": "0 0 * * *", "tz": "Europe/Berlin", "limit": 7, "endDate": 4102444800000,
    }  # fmt: skip
    assert (planned.opts["priority"], planned.opts["attempts"], planned.opts["removeOnComplete"]) == (3, 5, True)
    assert planned.next > time.time() * 1000
    assert await schedules.listed("other") == []


async def test_each_run_is_announced_with_its_delay_when_it_is_made(
    bench: Bench, schedules: Schedules, runs: list[str]
) -> None:
    await schedules.upsert(replace(BEAT, repeat=Repeat(every=1500)))
    async with bench.worker():
        await wait_until(lambda: runs)
        planned = await _only(schedules)
        assert planned.pending
        event = await bench.seen(planned.job_id, "job-queued", 1)
    assert isinstance(event, JobQueued)
    assert event.name == "go"
    assert 0 < (event.delay or 0) <= 1500
    assert await bench.kinds(planned.job_id) == ["job-queued"]


async def test_other_terms_under_the_same_id_replace_it(bench: Bench, schedules: Schedules) -> None:
    await schedules.upsert(HOURLY)
    old = await _only(schedules)
    assert await schedules.upsert(replace(BEAT, id=HOURLY.id, repeat=Repeat(pattern="0 0 1 1 *")))
    new = await _only(schedules)
    assert new.repeat == {"pattern": "0 0 1 1 *", "tz": "UTC"}
    assert await bench.client.zrange("bull:work:delayed", 0, -1) == [new.job_id]
    assert await bench.kinds(old.job_id) == ["job-queued", "job-cancelled"]
    assert await bench.kinds(new.job_id) == ["job-queued"]


async def test_a_changed_start_is_kept_to(schedules: Schedules) -> None:
    """BullMQ goes on by the old times for as long as the interval is the same."""
    start = round(time.time() * 1000) + 50_000
    await schedules.upsert(replace(HOURLY, repeat=Repeat(every=3_600_000, start_date=start)))
    await schedules.upsert(replace(HOURLY, repeat=Repeat(every=3_600_000, start_date=start + 7000)))
    assert (await _only(schedules)).next == start + 7000


async def test_a_changed_template_keeps_its_times(bench: Bench, schedules: Schedules) -> None:
    await schedules.upsert(HOURLY)
    old = await _only(schedules)
    assert await schedules.upsert(replace(HOURLY, data={"premium": True}, opts=JobOptions(priority=1)))
    new = await _only(schedules)
    assert new.next == old.next
    assert (await bench.bullmq(new.job_id))["data"] == '{"premium":true}'
    assert await bench.kinds(new.job_id) == ["job-queued"]


async def test_a_schedule_can_be_removed_and_its_waiting_job_with_it(bench: Bench, schedules: Schedules) -> None:
    await schedules.upsert(HOURLY)
    await schedules.upsert(BEAT)  # due at once, with no worker to take it
    for each in await schedules.listed("work"):
        assert await schedules.remove("work", each.id)
        assert await bench.bullmq(each.job_id) == {}
        assert await bench.kinds(each.job_id) == ["job-queued", "job-cancelled"]
    assert await schedules.listed("work") == []
    assert sum((await bench.queues.counts("work")).values()) == 0
    assert not await schedules.remove("work", "beat")


async def test_a_schedule_with_a_limit_ends_and_a_restart_does_not_begin_it_anew(
    bench: Bench, schedules: Schedules, runs: list[str]
) -> None:
    bench.registry.plan(replace(BEAT, repeat=Repeat(every=100, limit=3)))
    for _ in range(2):
        async with bench.worker(mending=OFTEN):
            await wait_until(lambda: len(runs) >= 3, 5)
            await asyncio.sleep(0.4)
    assert len(runs) == 3
    planned = await _only(schedules)
    assert (planned.is_over, planned.ran) == (True, 3)


@pytest.mark.parametrize("repeat", [Repeat(every=1000), Repeat(pattern="* * * * * *")])
async def test_no_run_is_made_for_a_time_after_the_end(
    bench: Bench, schedules: Schedules, runs: list[str], repeat: Repeat
) -> None:
    """BullMQ makes one more: it looks at the end when it makes a run, not at the time it makes it for."""
    end = round(time.time() * 1000) + 1500
    repeat = Repeat(every=repeat.every, pattern=repeat.pattern, end_date=end)
    await schedules.upsert(replace(BEAT, repeat=repeat))
    async with bench.worker(mending=OFTEN):
        await wait_until(lambda: runs, 5)
        await asyncio.sleep(max(0, end / 1000 - time.time()) + 1.2)
    assert all(slot <= end for slot in _slots(runs))
    assert (await _only(schedules)).is_over


async def test_a_schedule_that_would_never_run_is_refused(schedules: Schedules) -> None:
    end = round(time.time() * 1000) + 1000
    with pytest.raises(BadRequest, match="never"):
        await schedules.upsert(replace(BEAT, repeat=Repeat(pattern="0 0 1 1 *", end_date=end)))
    assert await schedules.listed("work") == []


async def test_of_two_that_start_it_together_one_makes_it(bench: Bench, schedules: Schedules, runs: list[str]) -> None:
    at_once = replace(BEAT, repeat=Repeat(pattern="0 0 1 1 *", immediately=True))
    async with bench.worker():
        made = await asyncio.gather(*(Schedules(bench.queues).upsert(at_once) for _ in range(5)))
        await wait_until(lambda: runs, 5)
        await schedules.upsert(at_once)
        await asyncio.sleep(0.2)
    assert sorted(made) == [False] * 4 + [True]
    assert len(runs) == 1


# Declared beside the handlers.


async def test_declared_schedules_are_made_at_the_start_and_none_is_removed_when_its_declaration_is_gone(
    bench: Bench, schedules: Schedules, runs: list[str]
) -> None:
    await schedules.upsert(HOURLY)
    bench.registry.plan(BEAT)
    for _ in range(2):
        async with bench.worker():
            await _goes_on(runs)
            assert {each.id for each in await schedules.listed("work")} == {BEAT.id, HOURLY.id}
    assert len(await bench.client.zrange("bull:work:delayed", 0, -1)) <= 2


async def test_its_jobs_have_the_priority_and_are_kept_as_their_queue_says_from_the_first_start_on(
    bench: Bench, schedules: Schedules, runs: list[str]
) -> None:
    bench.registry.declare(QueueDefinition("work", priority="high", keep_completed=Keep(count=1)))
    bench.registry.plan(Schedule(queue="work", id="beat", name="go", repeat=Repeat(every=200, limit=3)))
    own = JobOptions(priority=2, remove_on_complete=5)
    bench.registry.plan(replace(HOURLY, opts=own))
    bench.registry.plan(replace(HOURLY, id="first-of-all", opts=JobOptions(lifo=True)))
    async with bench.worker():
        await wait_until(lambda: len(runs) == 3, 10, "three runs")
        await wait_until(lambda: _kept(bench, runs), 10, "the end of the last")
    assert await bench.client.zcard("bull:work:completed") == 1
    assert int((await bench.bullmq(runs[-1]))["priority"]) == 4
    planned = {each.id: each.opts for each in await schedules.listed("work")}
    assert (planned[HOURLY.id]["priority"], planned[HOURLY.id]["removeOnComplete"]) == (2, 5)
    assert "priority" not in planned["first-of-all"]


async def _kept(bench: Bench, runs: list[str]) -> bool:
    return await bench.client.zscore("bull:work:completed", runs[-1]) is not None


# It goes on.


async def test_a_schedule_goes_on_after_its_worker_was_killed_before_it_made_the_next_run(
    bench: Bench, schedules: Schedules
) -> None:
    """The job stalls, is taken again, and whoever takes it makes the next run."""
    await schedules.upsert(BEAT)
    await _take_and_be_killed(bench, lock=300)
    runs: list[str] = []

    async def execute(job: TakenJob) -> None:
        runs.append(job.id)
        await job.complete(None)

    async with _working(Consumer(bench.client, WORK, execute, timing=QUICK, schedules=schedules)):
        await _goes_on(runs, 4)


async def test_a_schedule_does_not_wait_until_the_job_of_a_killed_worker_stalls(
    bench: Bench, schedules: Schedules, runs: list[str]
) -> None:
    await schedules.upsert(BEAT)
    await _take_and_be_killed(bench, lock=60_000)
    async with bench.worker(mending=OFTEN, timing=LONG_LOCK):
        await _goes_on(runs, 3)


async def test_a_schedule_goes_on_after_redis_failed_to_make_the_next_run(
    bench: Bench, schedules: Schedules, runs: list[str]
) -> None:
    """The job runs on and ends; the schedule stands until a look finds it so."""
    await schedules.upsert(BEAT)
    await bench.client.rename("bull:work:repeat:beat", "aside")
    await bench.client.set("bull:work:repeat:beat", "not what BullMQ's script expects")
    async with bench.worker(mending=OFTEN):
        await wait_until(lambda: runs, 5)
        await bench.ended(runs[0])
        assert await bench.client.zcard("bull:work:delayed") == 0
        await bench.client.rename("aside", "bull:work:repeat:beat")
        await _goes_on(runs)


async def test_a_run_that_comes_with_the_end_of_another_job_makes_the_next_one_too(
    bench: Bench, schedules: Schedules, runs: list[str]
) -> None:
    """Two workers that are never idle: after the first, each job comes with the end of the one before it."""

    @bench.handler(name="busy")
    async def busy(_: Context) -> None:
        await asyncio.sleep(0.03)
        if len(runs) < 6:
            await bench.submit(name="busy")

    for _ in range(4):
        await bench.submit(name="busy")
    await schedules.upsert(BEAT)
    async with bench.worker(concurrency=1), bench.worker(concurrency=1):
        await wait_until(lambda: len(runs) >= 6, 10, "six runs")
    slots = _slots(runs)
    assert slots == sorted(set(slots)), "a run was made twice"


async def test_a_schedule_goes_on_where_no_handler_knows_its_jobs(bench: Bench, schedules: Schedules) -> None:
    @bench.handler()
    async def go(_: Context) -> None: ...

    await schedules.upsert(replace(BEAT, name="unheard-of"))
    seen: set[str] = set()

    async def three() -> bool:
        seen.add((await _only(schedules)).job_id)
        return len(seen) > 3

    async with bench.worker(mending=NEVER):
        await wait_until(three, 5)
        failed = await bench.ended(min(seen))
    assert isinstance(failed[-1], JobFailed)
    assert "unheard-of" in failed[-1].error


async def test_a_schedule_whose_next_job_was_removed_by_hand_is_mended(
    bench: Bench, schedules: Schedules, runs: list[str]
) -> None:
    start = round(time.time() * 1000) + 400
    await schedules.upsert(replace(BEAT, repeat=Repeat(every=200, start_date=start)))
    gone = (await _only(schedules)).job_id
    await bench.client.zrem("bull:work:delayed", gone)
    await bench.client.delete(f"bull:work:{gone}")
    async with bench.worker(mending=OFTEN):
        await _goes_on(runs)
    assert gone not in runs


async def test_hours_without_a_worker_are_made_good_by_one_run(
    bench: Bench, schedules: Schedules, runs: list[str]
) -> None:
    await schedules.upsert(replace(BEAT, repeat=Repeat(every=300)))
    await asyncio.sleep(1.6)
    began = time.time() * 1000
    async with bench.worker():
        await _goes_on(runs, 3)
    late, *others = _slots(runs)
    assert late < began - 1000
    assert all(slot >= began - 300 for slot in others)


async def test_a_schedule_made_by_a_clock_that_was_ahead_is_reckoned_anew(
    bench: Bench, schedules: Schedules, runs: list[str]
) -> None:
    ahead = round(time.time() * 1000) + 3_600_000
    await schedules.upsert(replace(BEAT, repeat=Repeat(every=200, start_date=ahead)))
    planned = await _only(schedules)
    await bench.client.hset(f"bull:work:{planned.job_id}", "timestamp", ahead - 200)
    await bench.client.hdel("bull:work:repeat:beat", "startDate")
    async with bench.worker(mending=OFTEN):
        await _goes_on(runs)
    assert planned.job_id not in runs
    assert await bench.kinds(planned.job_id) == ["job-queued", "job-cancelled"]


async def test_a_run_promoted_by_hand_is_not_taken_for_a_clock_set_back(
    bench: Bench, schedules: Schedules, runs: list[str]
) -> None:
    await schedules.upsert(HOURLY)
    queue = Queue("work", {"connection": bench.client})
    await (await queue.getJob((await _only(schedules)).job_id)).promote()
    async with bench.worker(mending=OFTEN):
        await wait_until(lambda: runs, 5)
        await asyncio.sleep(0.5)
    assert len(runs) == 1
    assert (await _only(schedules)).next > _slots(runs)[0]


async def test_a_look_takes_in_so_many_and_the_next_goes_on_behind_them(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobcast.shared.schedules.PAGE", 2)
    schedules = Schedules(bench.queues)
    for number in range(5):
        await schedules.upsert(replace(HOURLY, id=f"s{number}"))
    for each in await schedules.listed("work"):
        await bench.client.delete(f"bull:work:{each.job_id}")
    for ended in ("s0", "s1"):  # in front for ever
        await bench.client.hset(f"bull:work:repeat:{ended}", "limit", "1")
    mended = [await schedules.mend("work") for _ in range(3)]
    assert mended[:2] == [0, 2]


async def test_a_schedule_of_another_program_that_cannot_be_read_stops_no_other(
    bench: Bench, schedules: Schedules, runs: list[str]
) -> None:
    queue = Queue("work", {"connection": bench.client})
    await queue.upsertJobScheduler("strange", {"every": 3_600_000}, "go", {})
    await bench.client.hdel("bull:work:repeat:strange", "every")
    await bench.client.hset("bull:work:repeat:strange", mapping={"pattern": "every now and then", "endDate": 1})
    await schedules.upsert(BEAT)
    async with bench.worker(mending=OFTEN):
        await _goes_on(runs, 4)
    assert {each.id for each in await schedules.listed("work")} == {"beat", "strange"}


@asynccontextmanager
async def _working(consumer: Consumer) -> AsyncIterator[None]:
    running = asyncio.create_task(consumer.run())
    try:
        yield
    finally:
        consumer.close()
        await running


_TAKER = """
import asyncio, sys
from bullmq import Worker
from jobcast.shared.redis import connect_for_bullmq

async def main(url, lock):
    worker = Worker("work", None, {
        "connection": connect_for_bullmq(url, name="taker"), "autorun": False, "lockDuration": int(lock)})
    await worker.backend.connection.getRedisVersion()
    while True:
        data, job_id, *_ = await worker.backend.moveToActive("token", worker.opts)
        if data:
            print(job_id, flush=True)
            await asyncio.sleep(60)

asyncio.run(main(*sys.argv[1:]))
"""


async def _take_and_be_killed(bench: Bench, lock: int) -> None:
    """A process takes the scheduled job and is killed before it can make the next one."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _TAKER, bench.url, str(lock), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert child.stdout is not None
        assert await asyncio.wait_for(child.stdout.readline(), 20)
    finally:
        child.kill()
        await child.wait()
    assert await bench.client.llen("bull:work:active") == 1
    assert await bench.client.zcard("bull:work:delayed") == 0
