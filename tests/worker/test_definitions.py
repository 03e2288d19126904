"""Queue definitions as data: read from plain values, held by the worker, told to everybody."""

import asyncio
import time
import tomllib
from typing import Any

import msgspec
import pytest
from bullmq import Queue

from jobcast import Breaker, Context, Unrecoverable
from jobcast.shared.definitions import Definitions, JobTimes, Limiter
from jobcast.shared.errors import BadSettings
from jobcast.shared.events import JobFailed
from jobcast.shared.options import Backoff, Keep
from jobcast.worker.queues import QueueDefinition, read_definition, read_definitions
from tests.support.waiting import wait_until
from tests.worker.conftest import Bench

TABLE = """
[wallet-operations]
concurrency = 3
attempts = 3
backoff = { type = "exponential", delay = 2000 }
removeOnComplete = 50
removeOnFail = { count = 100, age = 604800 }
priority = "high"
jobs.sync-wallet = { timeout = 600, staleAfter = 900 }
jobs.fetch-balance = { timeout = 300, staleAfter = 480 }

[analysis-operations]
concurrency = 8
attempts = 3
backoff = { type = "exponential", delay = 3000, jitter = 0.2 }
maxStalledCount = 3
limiter = { max = 10, duration = 1000 }
deadLetter = "dead-letter"
breaker = { failures = 7, cooldown = 10, notCounted = ["bad-data"] }
"""


def test_the_table_of_system_4_is_read_from_plain_data() -> None:
    wallet, analysis = read_definitions(tomllib.loads(TABLE))
    assert wallet == QueueDefinition(
        "wallet-operations",
        concurrency=3,
        attempts=3,
        backoff=Backoff("exponential", 2000),
        keep_completed=Keep(count=50),
        keep_failed=Keep(count=100, age=604800),
        priority="high",
        jobs={"sync-wallet": JobTimes(600, 900), "fetch-balance": JobTimes(300, 480)},
    )
    assert (analysis.max_stalled_count, analysis.limiter) == (3, Limiter(10, 1000))
    assert analysis.backoff == Backoff("exponential", 3000, 0.2)
    assert analysis.dead_letter == "dead-letter"
    assert analysis.breaker == Breaker(failures=7, cooldown=10, not_counted=frozenset({"bad-data"}))
    assert read_definition("bare", {"breaker": {}}).breaker == Breaker()


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ({"concurency": 3}, "concurency"), ({"concurrency": 0}, "concurrency"), ({"attempts": "3"}, "attempts"),
        ({"backoff": {"type": "random"}}, "backoff"), ({"limiter": {"max": 0, "duration": 5}}, "max"),
        ({"limiter": {"count": 5, "duration": 5}}, "count"), ({"priority": "hihg"}, "hihg"),
        ({"jobs": {"sync": {"timeout": 0}}}, "timeout"), ({"jobs": {"sync": {"staleafter": 5}}}, "staleafter"),
        ({"removeOnFail": {"days": 1}}, "days"), ({"removeOnComplete": False}, "removeOnComplete"),
        ({"deadLetter": "dead letter"}, "dead letter"),
        ({"breaker": {"failures": 0}}, "failures"), ({"breaker": {"failurs": 3}}, "failurs"),
        ({"breaker": {"cooldown": 30, "longest": 3}}, "cooldown"), ({"errors": []}, "errors"),
    ],
    ids=str,
)  # fmt: skip
def test_a_word_that_is_unknown_or_out_of_range_is_named(data: dict[str, Any], named: str) -> None:
    with pytest.raises(BadSettings, match=f"queue orders: .*{named}"):
        read_definition("orders", data)


async def test_what_a_worker_works_by_can_be_read_by_everyone(bench: Bench) -> None:
    @bench.handler(name="sync-wallet", timeout=7.0)
    async def go(_: Context) -> None: ...

    bench.registry.declare(
        QueueDefinition("work", concurrency=3, attempts=2, jobs={"fetch-balance": JobTimes(300, 480)})
    )
    async with bench.worker():
        words = await wait_until(lambda: Definitions(bench.commands).read("work"))
        raw = await bench.commands.hgetall("jobcast:queue:{work}:definition")
    assert words is not None
    assert (words.concurrency, words.attempts) == (3, 2)
    assert words.jobs == {"fetch-balance": JobTimes(300, 480), "sync-wallet": JobTimes(7.0)}
    assert msgspec.json.decode(raw[b"jobs"])["fetch-balance"] == {"timeout": 300.0, "staleAfter": 480.0}


async def test_a_field_nobody_can_read_hides_no_other(bench: Bench) -> None:
    key = "jobcast:queue:{work}:definition"
    await bench.commands.hset(key, mapping={"attempts": "4", "backoff": "{", "novelty": "1", "concurrency": '"x"'})
    words = await Definitions(bench.client).read("work")
    assert words is not None
    assert (words.attempts, words.backoff, words.concurrency) == (4, None, None)


async def test_the_queue_s_defaults_hold_for_jobs_that_say_nothing_whoever_submits_them(bench: Bench) -> None:
    @bench.handler()
    async def go(_: Context) -> None:
        raise ValueError

    early = await bench.submit()  # before any worker said how the queue is worked
    bench.registry.declare(QueueDefinition("work", attempts=2, backoff=Backoff("fixed", 20), priority="low"))
    async with bench.worker():
        await wait_until(lambda: Definitions(bench.commands).read("work"))
        bench.queues._definitions._believed.clear()
        ours = await bench.submit()
        foreign = (await Queue("work", {"connection": bench.client}).add("go", {}, {"jobId": "foreign"})).id
        own = await bench.submit(attempts=1)
        for job_id, attempts in ((early, 2), (ours, 2), (foreign, 2), (own, 1)):
            last = (await bench.ended(job_id))[-1]
            assert isinstance(last, JobFailed)
            assert (last.attempts, last.max_attempts) == (attempts, attempts), job_id
        assert (await bench.bullmq(ours))["priority"] == "8"


async def test_retention_by_count_holds_for_completed_jobs(bench: Bench) -> None:
    @bench.handler()
    async def go(_: Context) -> None: ...

    bench.registry.declare(QueueDefinition("work", concurrency=1, keep_completed=Keep(count=2)))
    async with bench.worker():
        for _ in range(5):
            await bench.ended(await bench.submit())
        assert await bench.client.zcard("bull:work:completed") == 2


async def test_retention_by_count_holds_for_failed_jobs_by_another_number(bench: Bench) -> None:
    @bench.handler()
    async def go(_: Context) -> None:
        raise Unrecoverable("never")

    bench.registry.declare(
        QueueDefinition("work", concurrency=1, keep_completed=Keep(count=1), keep_failed=Keep(count=3))
    )
    async with bench.worker():
        for _ in range(5):
            await bench.ended(await bench.submit())
        assert await bench.client.zcard("bull:work:failed") == 3


async def test_back_off_by_a_function_of_one_s_own(bench: Bench) -> None:
    asked: list[tuple[int, str]] = []

    def wait(attempts_made: int, error: BaseException | None) -> float:
        asked.append((attempts_made, str(error)))
        return 30.0 * attempts_made

    @bench.handler()
    async def go(ctx: Context) -> None:
        raise ValueError(f"no {ctx.attempt}")

    bench.registry.declare(QueueDefinition("work", attempts=3, backoff=wait))
    job_id = await bench.submit()
    async with bench.worker():
        failed = [event for event in await bench.ended(job_id) if isinstance(event, JobFailed)]
    assert asked == [(1, "no 1"), (2, "no 2")]
    assert [(event.retry_at or 0) - event.timestamp for event in failed[:2]] == [30, 60]


@pytest.mark.parametrize("answer", [-1, float("nan"), "soon", None])
async def test_a_back_off_function_that_answers_nonsense_means_a_second(bench: Bench, answer: Any) -> None:
    @bench.handler()
    async def go(_: Context) -> None:
        raise ValueError

    bench.registry.declare(QueueDefinition("work", attempts=2, backoff=lambda *_: answer))
    job_id = await bench.submit()
    async with bench.worker():
        failed = await bench.seen(job_id, "job-failed")
    assert isinstance(failed, JobFailed)
    assert failed.retry_at == failed.timestamp + 1000


async def test_a_time_out_by_job_name_goes_before_the_handler_s_own(bench: Bench) -> None:
    @bench.handler(name="fetch-balance", timeout=60.0)
    async def go(_: Context) -> None:
        await asyncio.sleep(60)

    bench.registry.declare(QueueDefinition("work", jobs={"fetch-balance": JobTimes(timeout=0.2)}))
    job_id = await bench.submit(name="fetch-balance")
    async with bench.worker():
        last = (await bench.ended(job_id))[-1]
    assert isinstance(last, JobFailed)
    assert last.error == "TimeoutError: the handler ran longer than 0.2 s"


async def test_the_rate_limit_of_api_calls_holds_over_two_workers_and_is_used(bench: Bench) -> None:
    """Ten per 400 ms for ten per second; fixed windows, so that 35 jobs need three whole ones."""
    times: list[float] = []

    @bench.handler("api-calls")
    async def go(_: Context) -> None:
        times.append(time.monotonic())

    bench.registry.declare(QueueDefinition("api-calls", concurrency=8, limiter=Limiter(10, 400)))
    for _ in range(35):
        await bench.submit(queue="api-calls")
    async with bench.worker(), bench.worker():
        await wait_until(lambda: len(times) == 35, 10)
    # Late by a little is what a busy machine adds; an early eleventh is a limit that was not held.
    assert all(later - first > 0.2 for first, later in zip(times, times[10:], strict=False))
    assert times[-1] - times[0] < 6.0
