"""Copy-trading vaults: each point of system 5, with real workers, Redis and SQLite."""

import asyncio
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from examples.copy_trading.events import job_of
from examples.copy_trading.performance import Performance, performance
from tests.conftest import RunNode
from tests.e2e.watchers import over_websocket
from tests.examples.vaults import (
    Vaults,
    address,
    deposit_of,
    trade_of,
    vault_of,
    vaults,
    withdrawal_of,
)
from tests.support.waiting import wait_until

UINT256 = 2**256 - 1
AT_ONCE = {"backoff": {"type": "fixed", "delay": 50}}


@pytest.fixture(scope="module")
def system(redis_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vaults]:
    with vaults(redis_binary, tmp_path_factory.mktemp("vaults")) as system:
        yield system


async def test_system_5_one_worker_works_all_four_queues_and_five_trades_at_once(system: Vaults) -> None:
    vault = await system.vault()
    with system.busy():
        jobs = [await system.send(trade_of(vault, 100, 100)) for _ in range(7)]

        async def at_work() -> bool:
            counts = await system.counts("trade")
            return (counts["active"], counts["waiting"]) == (5, 2)

        await wait_until(at_work, 10, "five of the seven trades at work")
    snapshots = [(await system.completed(job))["snapshot"] for job in jobs]
    for job in snapshots:
        await system.completed(job)
    await system.done(deposit_of(vault, address(), 1))


async def test_system_5_a_trade_that_comes_before_its_vault_is_tried_again_live_until_the_vault_is_there(
    system: Vaults,
) -> None:
    created = vault_of(address())
    job = await system.send(trade_of(created.address, 100, 120))
    # From the first event on, however late the watcher comes.
    beginning = {"epoch": (await system.stack.job(job))["epoch"], "seq": 0}
    watching = asyncio.create_task(over_websocket(system.stack.url, job, beginning))

    async def has_failed() -> bool:
        return "job-failed" in [kind for kind, _ in await system.history(job)]

    await wait_until(has_failed, 10, "the first failure")
    await system.done(created)
    heard = await asyncio.wait_for(watching, 30)
    failure = next(said for name, said in heard if name == "job-failed")
    assert f"expected vault {created.address} to be created" in failure["error"]
    assert "recorded" in [said["stage"] for name, said in heard if name == "job-progress"]
    assert heard[-1][0] == "job-completed"
    await system.completed(heard[-1][1]["result"]["snapshot"])
    [(roi,)] = system.rows("SELECT roi FROM copy_vaults WHERE address = ?", created.address)
    assert roi == "0.200000"


async def test_system_5_a_trade_told_twice_in_whatever_letters_is_stored_once(system: Vaults) -> None:
    vault = await system.vault()
    trade = trade_of(vault, 100, 110)
    shouted = {"vault": f"0x{vault[2:].upper()}", "transactionHash": f"0x{trade.transaction_hash[2:].upper()}"}
    jobs = [await system.send(trade) for _ in range(4)]
    data = {**job_of(trade)[1]["data"], **shouted}
    jobs.append(await system.stack.submit("trade", "record-trade", data))
    results = [await system.completed(job) for job in jobs]
    assert sorted(result["fresh"] for result in results) == [False] * 4 + [True]
    [snapshot] = {result["snapshot"] for result in results}
    assert (await system.completed(snapshot))["trades"] == "1"
    assert system.rows("SELECT count(*) FROM copy_trades WHERE vault = ?", vault) == [(1,)]


async def test_system_5_each_trade_is_followed_by_a_snapshot_of_return_and_drawdown(system: Vaults) -> None:
    vault = await system.vault()
    # In the vault's own time: 100 to 120, then 60 more were put in, 180 to 135, and 135 to 162.
    first, second, third = (
        trade_of(vault, 100, 120, 1),
        trade_of(vault, 180, 135, 2),
        trade_of(vault, 135, 162, 3),
    )
    await system.snapshots(third, first, second)  # not in the order they were made
    assert system.rows("SELECT value, roi, drawdown FROM copy_vaults WHERE address = ?", vault) == [
        ("162", "0.080000", "0.250000")
    ]
    history = "SELECT trades, value, roi, drawdown FROM copy_snapshots WHERE vault = ? ORDER BY trades"
    assert system.rows(history, vault) == [
        (1, "162", "0.200000", "0.000000"),
        (2, "162", "0.440000", "0.000000"),
        (3, "162", "0.080000", "0.250000"),
    ]


def test_system_5_performance_is_reckoned_with_values_of_any_size() -> None:
    assert performance([]) == Performance(0, 0, Decimal(0), Decimal(0))
    assert performance([(10**77, 11 * 10**76)] * 2) == Performance(2, 11 * 10**76, Decimal("0.21"), Decimal(0))
    assert performance([(10, 11)] * 3).roi == Decimal("0.331")
    assert performance([(100, 50), (50, 0), (70, 700)]) == Performance(3, 700, Decimal(-1), Decimal(1))


async def test_system_5_a_vault_begins_active_with_zeros_and_its_leader_as_a_user_and_is_created_once(
    system: Vaults,
) -> None:
    leader = address()
    await system.done(deposit_of(await system.vault(), leader, 5))  # who follows another vault may lead one
    event = vault_of(leader)
    assert await system.done(event) == [{"vault": event.address, "fresh": True}]
    query = "SELECT leader, name, status, value, roi, drawdown FROM copy_vaults WHERE address = ?"
    assert system.rows(query, event.address) == [(leader, "Tortoise", "ACTIVE", "0", "0.000000", "0.000000")]
    assert system.rows("SELECT count(*) FROM copy_users WHERE address = ?", leader) == [(1,)]
    await system.snapshots(trade_of(event.address, 100, 150))
    assert await system.done(event) == [{"vault": event.address, "fresh": False}]
    assert system.rows(query, event.address) == [(leader, "Tortoise", "ACTIVE", "150", "0.500000", "0.000000")]


async def test_system_5_deposits_add_up_in_integers_of_any_size_and_each_counts_once(system: Vaults) -> None:
    vault, follower = await system.vault(), address()
    first, second = deposit_of(vault, follower, UINT256), deposit_of(vault, follower, UINT256 - 1)
    results = await system.done(first, second, first, first, second)
    assert [result["fresh"] for result in results].count(True) == 2
    assert system.subscribed(vault, follower) == [str(2 * UINT256 - 1)]
    assert system.rows("SELECT count(*) FROM copy_users WHERE address = ?", follower) == [(1,)]


async def test_system_5_a_withdrawal_subtracts_and_the_subscription_ends_when_nothing_remains(system: Vaults) -> None:
    vault, follower = await system.vault(), address()
    deposit = deposit_of(vault, follower, 10**30 + 1)
    await system.done(deposit)
    part = withdrawal_of(vault, follower, 10**30)
    results = await system.done(part, part)
    assert sorted(result["fresh"] for result in results) == [False, True]
    assert system.subscribed(vault, follower) == ["1"]
    await system.done(withdrawal_of(vault, follower, 1))
    assert system.subscribed(vault, follower) == []
    assert await system.done(deposit) == [{"fresh": False, "subscribed": "0"}]  # told again, it brings nothing back
    assert system.subscribed(vault, follower) == []


async def test_system_5_a_withdrawal_that_comes_before_its_deposit_is_tried_again_and_never_overdraws(
    system: Vaults,
) -> None:
    vault, follower = await system.vault(), address()
    await system.done(deposit_of(vault, follower, 5))
    early = await system.send(withdrawal_of(vault, follower, 7), attempts=200, **AT_ONCE)

    async def has_failed() -> bool:
        said = [event for kind, event in await system.history(early) if kind == "job-failed"]
        return bool(said) and "expected 2 more to be deposited before 7 are withdrawn" in said[0]["error"]

    await wait_until(has_failed, 10, "the first failure")
    assert system.subscribed(vault, follower) == ["5"]
    await system.done(deposit_of(vault, follower, 3))
    assert await system.completed(early) == {"fresh": True, "subscribed": "1"}


async def test_system_5_failures_back_off_exponentially_stay_in_redis_and_are_seen_by_bull_board(
    system: Vaults, run_node: RunNode
) -> None:
    nowhere = trade_of(address(), 100, 100)
    job = await system.send(nowhere, attempts=4, backoff={"type": "exponential", "delay": 100})
    assert (await system.stack.finished(job))["status"] == "failed"
    failures = [said for kind, said in await system.history(job) if kind == "job-failed"]
    waits = [said["retryAt"] - said["timestamp"] for said in failures if not said["final"]]
    assert waits == [100, 200, 400]
    board = await run_node("board.js", system.stack.redis_url, "trade")
    assert board.exit_code == 0, board.stderr
    shown = json.loads(board.stdout)
    assert shown["counts"]["failed"] >= 1
    assert job in [each["id"] for each in shown["jobs"]]


@pytest.mark.parametrize(("queue", "concurrency"), [("trade", 5), ("snapshot", 2), ("vault", 2), ("follower", 5)])
def test_system_5_a_job_of_any_queue_is_tried_six_times_from_half_a_second_on(
    system: Vaults, queue: str, concurrency: int
) -> None:
    said = system.definition(queue)
    assert (said["concurrency"], said["attempts"]) == (concurrency, 6)
    assert said["backoff"] == {"type": "exponential", "delay": 500, "jitter": 0.0}


@pytest.mark.parametrize(
    "wrong",
    [{"amount": 5}, {"amount": "-5"}, {"amount": "0"}, {"amount": "5\n"}, {"vault": "0x12"}, {"fee": "1"}],
    ids=str,
)
async def test_system_5_an_event_that_is_none_fails_at_once_and_changes_nothing(
    system: Vaults, wrong: dict[str, object]
) -> None:
    vault, follower = await system.vault(), address()
    data = {**job_of(deposit_of(vault, follower, 5))[1]["data"], **wrong}
    job = await system.stack.submit("follower", "deposit", data)
    assert (await system.stack.finished(job))["status"] == "failed"
    assert [kind for kind, _ in await system.history(job)].count("job-failed") == 1
    assert system.subscribed(vault, follower) == []
