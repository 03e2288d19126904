"""A queue whose jobs fail in a row is left alone for a while, by all its workers, and nothing is lost."""

import asyncio
import time
from typing import Any

import pytest
from structlog.testing import capture_logs

from jobcast import Context, RetryAfter, Unrecoverable
from jobcast.shared.circuit import Circuits
from jobcast.shared.circuit_words import Circuit
from jobcast.shared.errors import BadSettings
from jobcast.shared.keys import Keys
from jobcast.worker.breaker import Breaker, Guard
from jobcast.worker.consumer import Timing
from jobcast.worker.errors import BadData
from jobcast.worker.queues import QueueDefinition
from tests.support.waiting import wait_until
from tests.worker.conftest import QUICK, Bench

SOON = Breaker(failures=3, cooldown=0.4, longest=1.0)
LONG = Breaker(failures=3, cooldown=60.0)


class Dependency:
    """What the jobs need, which can be broken."""

    def __init__(self, bench: Bench, breaker: Breaker, concurrency: int = 1) -> None:
        self.fails = True
        self.started: list[float] = []
        self.at_once = self.most = 0
        self.pause = 0.0
        bench.registry.declare(QueueDefinition("work", concurrency=concurrency, breaker=breaker))

        @bench.handler()
        async def go(_: Context) -> None:
            self.started.append(time.monotonic())
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            try:
                await asyncio.sleep(self.pause)
                if self.fails:
                    raise ConnectionError("the exchange is gone")
            finally:
                self.at_once -= 1


@pytest.fixture
def circuit(bench: Bench) -> Circuits:
    return Circuits(bench.commands, Keys())


async def until_it_is(circuit: Circuits, state: str, timeout: float = 10.0) -> Circuit:
    async def there() -> Circuit | None:
        found = await circuit.read("work")
        return found if found.state == state else None

    found = await wait_until(there, timeout, f"the circuit to be {state}")
    assert found is not None
    return found


async def test_wished_a_circuit_breaker_isolates_a_queue_after_repeated_failures(
    bench: Bench, circuit: Circuits
) -> None:
    """Over all its workers: none takes a job while it is open, and each job that waited runs once it is closed."""
    exchange = Dependency(bench, Breaker(failures=3, cooldown=1.5, longest=1.5))
    with capture_logs() as logs:
        async with bench.worker(), bench.worker():
            jobs = [await bench.submit(attempts=1) for _ in range(12)]
            found = await until_it_is(circuit, "open")
            await wait_until(lambda: not exchange.at_once)
            taken = len(exchange.started)
            assert taken <= 4  # one more may be taken in the moment it opens, by the other worker
            await asyncio.sleep(0.8)
            assert len(exchange.started) == taken
            exchange.fails = False
            for job_id in jobs:
                await bench.ended(job_id)
            await wait_until(lambda: [each for each in logs if each.get("kind") == "circuit-open"], 5, "the alert")
    assert found.until is not None
    assert 1400 <= found.until - found.timestamp <= 1500
    assert found.reason is not None
    assert "3 failures in a row; the last: job " in found.reason
    assert "ConnectionError: the exchange is gone" in found.reason
    assert len(exchange.started) == 12
    assert [each["key"] for each in logs if each.get("kind") == "circuit-open"] == ["work"]
    assert [each["log_level"] for each in logs if each.get("event_name") == "queue-circuit"] == [
        "error", "info", "warning",
    ]  # fmt: skip
    assert (await circuit.read("work")).state == "closed"


async def test_half_open_one_probe_at_a_time_is_taken_over_all_workers(bench: Bench, circuit: Circuits) -> None:
    exchange = Dependency(bench, SOON, concurrency=4)
    async with bench.worker():
        jobs = [await bench.submit() for _ in range(3)]
        await until_it_is(circuit, "open")
        for job_id in jobs:
            await bench.ended(job_id)
    exchange.fails, exchange.most, exchange.pause = False, 0, 0.6
    exchange.started.clear()
    jobs = [await bench.submit() for _ in range(6)]
    async with bench.worker(), bench.worker():
        await until_it_is(circuit, "half-open")
        await wait_until(lambda: exchange.started)
        await asyncio.sleep(0.4)
        assert len(exchange.started) == 1
        assert (await circuit.read("work")).state == "half-open"
        await until_it_is(circuit, "closed")
        exchange.pause = 0.0
        for job_id in jobs:
            assert (await bench.ended(job_id))[-1].kind == "job-completed"


async def test_a_probe_that_fails_opens_it_for_longer_up_to_a_bound(bench: Bench, circuit: Circuits) -> None:
    exchange = Dependency(bench, SOON)
    async with bench.worker():
        for _ in range(6):
            await bench.submit()
        await wait_until(lambda: len(exchange.started) == 6, 10, "three probes")
        found = await until_it_is(circuit, "open")
    first, second, third = (b - a for a, b in zip(exchange.started[2:5], exchange.started[3:], strict=True))
    assert first >= 0.4
    assert second >= 0.8
    assert third >= 1.0
    assert found.until is not None
    assert found.until - found.timestamp in (999, 1000)
    assert found.reason is not None
    assert found.reason.startswith("the probe failed: job ")


async def test_jobs_in_hand_go_on_while_it_opens(bench: Bench, circuit: Circuits) -> None:
    exchange = Dependency(bench, LONG, concurrency=4)
    go_on = asyncio.Event()

    @bench.handler(name="slow")
    async def slow(_: Context) -> str:
        await go_on.wait()
        return "done"

    async with bench.worker():
        slow_id = await bench.submit(name="slow")
        await bench.seen(slow_id, "job-queue-to-start")
        for _ in range(3):
            await bench.submit()
        await until_it_is(circuit, "open")
        go_on.set()
        assert (await bench.ended(slow_id))[-1].kind == "job-completed"
        assert (await circuit.read("work")).state == "open"
    assert exchange.most >= 1


@pytest.mark.parametrize("error", [BadData("no name"), Unrecoverable("no"), RetryAfter(60)])
async def test_failures_that_are_the_job_s_own_do_not_count(bench: Bench, circuit: Circuits, error: Exception) -> None:
    bench.registry.declare(QueueDefinition("work", breaker=LONG))

    @bench.handler()
    async def go(_: Context) -> None:
        raise error

    async with bench.worker():
        for job_id in [await bench.submit() for _ in range(5)]:
            await bench.seen(job_id, "job-failed")
        assert (await circuit.read("work")).state == "closed"


async def test_they_count_where_the_queue_says_so(bench: Bench, circuit: Circuits) -> None:
    bench.registry.declare(QueueDefinition("work", breaker=Breaker(failures=3, not_counted=frozenset())))

    @bench.handler()
    async def go(_: Context) -> None:
        raise BadData("no name")

    async with bench.worker():
        for _ in range(3):
            await bench.submit()
        await until_it_is(circuit, "open")


async def test_a_success_ends_the_row(bench: Bench, circuit: Circuits) -> None:
    exchange = Dependency(bench, LONG)
    async with bench.worker():
        for fails in (True, True, False, True, True):
            exchange.fails = fails
            await bench.ended(await bench.submit())
        assert (await circuit.read("work")).state == "closed"


@pytest.fixture
async def guards(bench: Bench) -> list[Guard]:
    """Two workers' hands on one open circuit whose cool-down is over."""
    breaker = Breaker(failures=1, cooldown=0.01)
    both = [Guard(bench.commands, Keys(), "work", breaker, 0.3) for _ in range(2)]
    await both[0].report("before", "failure", "gone")
    await asyncio.sleep(0.05)
    return both


async def test_a_probe_whose_worker_died_is_lost_in_time_and_one_that_is_held_is_not(
    guards: list[Guard], circuit: Circuits
) -> None:
    one, other = guards
    assert (await one.enter("a")).probe
    refused = await other.enter("b")
    assert not refused.may_take
    assert 0 < refused.wait <= 0.3
    for _ in range(3):
        await asyncio.sleep(0.15)
        await one.hold()
        assert not (await other.enter("b")).may_take
    await asyncio.sleep(0.35)  # the one is dead
    assert (await other.enter("b")).probe
    await one.report("a", "success")  # and comes back: it speaks for nothing any more
    assert (await circuit.read("work")).state == "half-open"
    await other.report("b", "success")
    assert (await circuit.read("work")).state == "closed"


async def test_a_probe_that_says_nothing_gives_its_place_to_the_next(guards: list[Guard], circuit: Circuits) -> None:
    one, other = guards
    assert (await one.enter("a")).probe
    await one.report("a", "none")
    assert (await other.enter("b")).probe
    assert (await circuit.read("work")).state == "half-open"


async def test_of_many_who_ask_at_once_one_is_the_probe(guards: list[Guard]) -> None:
    one, _ = guards
    entries = await asyncio.gather(*(one.enter(str(n)) for n in range(20)))
    assert sum(entry.may_take for entry in entries) == 1


async def test_a_job_of_before_says_nothing_of_a_half_open_circuit(guards: list[Guard], circuit: Circuits) -> None:
    one, other = guards
    assert (await one.enter("a")).probe
    await other.report("of before", "failure", "late")
    await other.report("of before, too", "success")
    assert (await circuit.read("work")).state == "half-open"


async def test_an_empty_queue_keeps_no_probe(bench: Bench, circuit: Circuits) -> None:
    """One worker looks for a job, as the probe, and finds none: another's job must not wait for that."""
    exchange = Dependency(bench, Breaker(failures=1, cooldown=0.1))
    async with bench.worker(timing=Timing(lock=30.0, renew=0.4, stalled_check=0.5, idle=0.1)):
        await bench.ended(await bench.submit())
        await until_it_is(circuit, "half-open")
        await asyncio.sleep(0.3)
        exchange.fails = False
        job_id = await bench.submit()
        assert (await bench.ended(job_id, 3))[-1].kind == "job-completed"
        await until_it_is(circuit, "closed")


async def test_redis_going_away_is_no_failure_of_the_jobs(bench: Bench, circuit: Circuits) -> None:
    exchange = Dependency(bench, Breaker(failures=1, cooldown=60.0), concurrency=2)
    exchange.fails, exchange.pause = False, 0.5
    async with bench.worker(timing=QUICK):
        jobs = [await bench.submit() for _ in range(2)]
        await wait_until(lambda: exchange.at_once == 2)
        for _ in range(5):
            await bench.client.client_kill_filter(_type="normal", skipme=True)
            await asyncio.sleep(0.1)
        for job_id in jobs:
            assert (await bench.ended(job_id))[-1].kind == "job-completed"
        assert (await circuit.read("work")).state == "closed"


async def test_a_record_spoilt_by_hand_stops_no_job(bench: Bench, circuit: Circuits) -> None:
    exchange = Dependency(bench, LONG)
    exchange.fails = False
    await bench.commands.hset(Keys().queue_circuit("work"), mapping={"state": "ajar", "timestamp": "soon"})
    assert await circuit.read("work") == Circuit("work", "closed")
    await bench.commands.set(Keys().queue_circuit("work"), "no hash")
    assert await circuit.read("work") == Circuit("work", "closed")
    async with bench.worker():
        assert (await bench.ended(await bench.submit()))[-1].kind == "job-completed"


@pytest.mark.parametrize("how", [{"failures": 0}, {"cooldown": 0}, {"cooldown": 20.0, "longest": 10.0}])
def test_a_breaker_that_is_none_is_refused(how: dict[str, Any]) -> None:
    with pytest.raises(BadSettings):
        Breaker(**how)
