"""examples/exchange_sync, whole: what is asked of system 2 in docs/reference-systems.md."""

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from examples.exchange_sync import sample, schedules
from examples.exchange_sync.exchange import MARKETS
from jobcast import SyncProducer
from tests.examples.exchange_system import AT_ONCE, STARTED, System, failures, running
from tests.support.processes import ChildProcess, JobcastProcess, clean_environment
from tests.support.waiting import free_port, wait_until


@pytest.fixture(scope="module")
def system(redis_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running(redis_binary, tmp_path_factory.mktemp("exchange-sync")) as system:
        yield system


# The defaults.


async def test_system_2_a_job_that_says_nothing_has_the_options_of_its_queue(system: System) -> None:
    account = system.account("fine")
    plain = system.submit("orders", "sync", account)
    other = system.submit("balances", "fetch-balances", account)
    await system.result(plain)
    await system.result(other)
    orders, balances = (system.get(f"/jobs/{job}/details")["opts"] for job in (plain, other))
    assert (orders["attempts"], orders["backoff"]["type"], orders["backoff"]["delay"]) == (5, "exponential", 2000)
    assert (orders["priority"], balances.get("priority")) == (1, None)
    assert (balances["attempts"], balances["backoff"]["type"], balances["backoff"]["delay"]) == (3, "exponential", 1000)
    assert (balances["removeOnComplete"], balances["removeOnFail"]) == ({"count": 100}, {"count": 1000})


# The jobs.


async def test_system_2_sync_stores_each_order_once_in_exact_decimals(system: System) -> None:
    account = system.account("fine")
    first, second = [await system.result(system.sync(account)) for _ in range(2)]
    wanted = system.book(account)
    rows = system.rows(
        "SELECT id, amount, price FROM exchange_orders WHERE user = ? ORDER BY placed_at", account.user_id
    )
    assert [(id_, Decimal(amount), Decimal(price)) for id_, amount, price in rows] == [
        (order["id"], Decimal(order["amount"]), Decimal(order["price"])) for order in wanted
    ]
    assert (first, second) == ({"read": len(wanted)}, {"read": 0})


async def test_system_2_a_sync_that_failed_goes_on_with_the_page_it_had_reached(system: System) -> None:
    account = system.account("fine", "broken")
    events = await system.ended(system.sync(account))
    (failed,) = failures(events)
    rest = len(system.book(account)) - 5
    assert failed["error"].startswith("HTTPStatusError: ")
    assert events[-1][1]["result"] == {"read": rest}
    assert len(system.rows("SELECT id FROM exchange_orders WHERE user = ?", account.user_id)) == rest + 5


async def test_system_2_bulk_sync_tells_progress_after_each_user_and_gives_who_failed_a_job_of_their_own(
    system: System,
) -> None:
    many = [system.account("fine"), system.account("lost"), system.account("fine"), system.account("fine")]
    bulk = system.submit("orders", "bulk-sync", {"accounts": many})
    result = await system.result(bulk)
    assert (result["processed"], list(result["failures"])) == (3, [str(many[1])])
    told = [said["percent"] for kind, said in system.events(bulk) if kind == "job-progress"]
    # Progress is latest-wins: between the first and the last some may be passed over.
    assert told[-1] == 100
    assert set(told) <= {25, 50, 75, 100}
    assert len(told) > 1
    assert (await system.result(f"{bulk}-{many[1]}"))["read"] == len(system.book(many[1]))


async def test_system_2_update_all_prices_and_a_single_quote(system: System) -> None:
    for queue, name, data in (("prices", "update-all", {}), ("api-calls", "quote", {"market": "BTC-EUR"})):
        await system.result(system.submit(queue, name, data, {**AT_ONCE, "attempts": 20}))
    assert dict(system.rows("SELECT market, price FROM exchange_prices")) == MARKETS


async def test_system_2_cleanup_removes_what_is_older_than_30_days_and_no_more(system: System) -> None:
    account = system.account("fine")
    await system.result(system.sync(account))
    await system.result(system.submit("orders", "cleanup", {"days": 30}))
    month_ago = (time.time() - 30 * 24 * 3600) * 1000
    left = {id_ for (id_,) in system.rows("SELECT id FROM exchange_orders WHERE user = ?", account.user_id)}
    assert left == {order["id"] for order in system.book(account) if order["placedAt"] >= month_ago}
    assert left


@pytest.mark.parametrize(
    ("name", "data", "field"),
    [
        ("cleanup", {"days": 0}, "days"),
        ("sync", {"userId": "two words", "exchange": "alpha"}, "userId"),
        ("sync", {"userId": "u1", "exchange": "alpha-beta"}, "exchange"),
    ],
    ids=str,
)
async def test_system_2_data_that_is_none_fails_at_once(
    system: System, name: str, data: dict[str, object], field: str
) -> None:
    (failed,) = failures(await system.ended(system.submit("orders", name, data)))
    assert (failed["attempts"], failed["maxAttempts"], failed["final"]) == (1, 5, True)
    assert f"$.{field}" in failed["error"]


# Schedules, delays, priorities, doubles.


async def test_system_2_each_account_is_synced_hourly_once_premium_first_and_until_it_is_removed(
    system: System,
) -> None:
    plain, premium = system.account("fine"), system.account("fine", premium=True)
    system.post("/queues/orders/pause")
    try:
        with SyncProducer.connect(system.redis.url) as jobs:
            fresh = [schedules.plan(jobs, account, premium=account == premium) for account in (plain, premium, premium)]
        asked = system.sync(system.account("fine"))
        mine = {plain.user_id, premium.user_id}
        waiting = system.get("/queues/orders/jobs", state="prioritized")["jobs"]
        ids = [
            job["id"] for job in waiting if job["id"] == asked or any(f"hourly-{user}-" in job["id"] for user in mine)
        ]
    finally:
        system.post("/queues/orders/resume")
    assert fresh == [True, True, False]
    assert [job.split(":")[1] if ":" in job else job for job in ids] == [asked, f"hourly-{premium}", f"hourly-{plain}"]
    for job in ids:
        await system.result(job)
    planned = {each["id"]: each for each in system.get("/queues/orders/schedules")["schedules"]}
    assert planned[f"hourly-{premium}"]["repeat"]["every"] == 3_600_000
    with SyncProducer.connect(system.redis.url) as jobs:
        assert [schedules.forget(jobs, plain) for _ in range(2)] == [True, False]
    assert f"hourly-{plain}" not in {each["id"] for each in system.get("/queues/orders/schedules")["schedules"]}


async def test_system_2_prices_every_5_minutes_and_cleanup_at_midnight(system: System) -> None:
    (prices,) = system.get("/queues/prices/schedules")["schedules"]
    (cleanup,) = [each for each in system.get("/queues/orders/schedules")["schedules"] if each["id"] == "cleanup"]
    assert (prices["name"], prices["repeat"]["every"]) == ("update-all", 300_000)
    assert prices["opts"]["removeOnComplete"] is True
    assert prices["opts"]["backoff"]["type"] == "fixed"
    assert (cleanup["opts"]["priority"], cleanup["opts"]["removeOnComplete"]) == (1, {"count": 100})
    assert (cleanup["repeat"]["pattern"], cleanup["data"]) == ("0 0 * * *", {"days": 30})
    assert cleanup["next"].endswith("T00:00:00.000+00:00")


async def test_system_2_a_job_may_be_delayed_and_doubles_are_skipped_by_id_and_by_state(system: System) -> None:
    account = system.account("fine")
    once = {"id": f"sync-{account}"}
    first = system.sync(account, delay=1000, deduplication=once)
    assert system.sync(account, deduplication=once) == first
    named = system.sync(account, delay=60_000, jobId=f"by-name-{account}")
    assert system.sync(account, jobId=named) == named
    events = await system.ended(first)
    queued, started = events[0][1], next(said for kind, said in events if kind == STARTED)
    assert started["timestamp"] - queued["timestamp"] >= 1000
    assert system.sync(account, deduplication=once) != first


# The flow.


async def test_system_2_aggregate_results_waits_for_orders_and_balances(system: System) -> None:
    account = system.account("fine")
    await system.result(system.submit("prices", "update-all", {}, {**AT_ONCE, "attempts": 20}))
    flow = system.post("/flows", sample.portfolio(account))
    result = await system.result(flow["jobId"])
    held = dict(system.rows("SELECT asset, amount FROM exchange_balances WHERE user = ?", account.user_id))
    prices = {"EUR": "1", **{market.removesuffix("-EUR"): price for market, price in MARKETS.items()}}
    worth = sum(Decimal(amount) * Decimal(prices[asset]) for asset, amount in held.items())
    assert result == {"orders": len(system.book(account)), "worth": f"{worth:.2f}", "unpriced": []}
    ended = [(await system.ended(child["jobId"]))[-1][1]["timestamp"] for child in flow["children"]]
    started = next(said for kind, said in system.events(flow["jobId"]) if kind == STARTED)
    assert started["timestamp"] >= max(ended) - 5
    ((told,),) = system.rows("SELECT text FROM exchange_notices WHERE id = ?", flow["jobId"])
    assert told == f"{account}: {result['orders']} orders, worth {result['worth']} EUR"


# As the README says.


async def test_the_readme_s_commands_run_it_whole(tmp_path: Path) -> None:
    port, elsewhere = free_port(), free_port()
    settings = {
        "JOBCAST_URL": f"http://127.0.0.1:{port}",
        "EXAMPLE_DATABASE": str(tmp_path / "examples.sqlite3"),
        "EXAMPLE_EXCHANGE": f"http://127.0.0.1:{elsewhere}",
    }
    module = ["--module", "examples.exchange_sync.jobs", "--no-shipped"]
    python = [sys.executable, "-m"]
    with ExitStack() as stack:
        env = {**clean_environment(), **settings}
        exchange = [*python, "examples.exchange_sync.exchange", "--port", str(elsewhere)]
        stack.enter_context(ChildProcess(exchange, env=env))
        up = stack.enter_context(
            JobcastProcess("up", *module, "--port", str(port), "--data", str(tmp_path / "data"), env=settings)
        )
        await up.says("up at", 30)
        redis = next(line.split()[-1] for line in up.stdout.splitlines() if "Redis: " in line)
        run = stack.enter_context(
            ChildProcess([*python, "examples.exchange_sync.sample"], env={**env, "JOBCAST_REDIS_URL": redis})
        )
        assert await run.exited(20) == 0, run.report
        jobs = [
            line.split(": ")[1] for line in run.stdout.splitlines() if line.startswith(("update-all", "bulk", "port"))
        ]
        assert len(jobs) == 3
        with httpx.Client(base_url=f"{settings['JOBCAST_URL']}/api/v1", trust_env=False) as http:

            def completed() -> bool:
                return all(http.get(f"/jobs/{job}").json()["status"] == "completed" for job in jobs)

            await wait_until(completed, 30, "the end of its jobs")
            planned = await asyncio.to_thread(http.get, "/queues/orders/schedules")
    assert len(planned.json()["schedules"]) == sample.USERS + 1
