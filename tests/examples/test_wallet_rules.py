"""System 4, rule by rule: its handlers in a worker within the test, whose queues are as the test needs them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from examples.wallet_analysis import analysis, database, jobs
from examples.wallet_analysis.database import Trade
from examples.wallet_analysis.flows import SYSTEM, Request
from examples.wallet_analysis.payloads import OfWallet, Rules
from jobcast import BadData, Registry, SyncContext, Worker
from tests.examples.wallets import ask, completed, failed, on_chain, stored, submit, surroundings, wallet
from tests.support.waiting import free_port, wait_until
from tests.worker.conftest import Bench, bench_at


@pytest.fixture(scope="module", autouse=True)
def _surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with surroundings(tmp_path_factory.mktemp("wallets")):
        yield


@pytest.fixture
async def bench(redis_url: str) -> AsyncIterator[Bench]:
    async with bench_at(redis_url) as bench:
        yield bench


async def test_system_4_whose_priority_is_higher_is_done_sooner(bench: Bench) -> None:
    done: list[str] = []

    def fetch_balance(ctx: SyncContext) -> dict[str, Any]:
        done.append(ctx.job_id)
        return jobs.fetch_balance(ctx)

    registry = Registry()
    registry.declare(replace(jobs.QUEUES["wallet-operations"], concurrency=1))
    registry.add("wallet-operations", "fetch-balance", fetch_balance, data=OfWallet)
    urgencies = ["maintenance", "normal", "critical", "low", "high"]
    ids = {urgency: await submit(bench, ask(urgency).job("balance", wallet())) for urgency in urgencies}
    async with Worker(registry, redis_url=bench.url):
        for job_id in ids.values():
            await completed(bench, job_id)
    assert done == [ids[urgency] for urgency in ("critical", "high", "normal", "low", "maintenance")]


async def test_system_4_a_job_whose_time_is_over_stops_between_two_steps_stores_nothing_and_gives_its_lock_back(
    bench: Bench,
) -> None:
    mine = wallet()
    registry = Registry()
    registry.add("analysis-operations", "analyze-pnl", jobs.analyze_pnl, data=OfWallet, timeout=1.0)
    async with Worker(registry, redis_url=bench.url):
        with database.connected() as db, database.transaction(db):  # nobody else can store anything
            job_id = await submit(bench, ask().job("pnl", mine))
            await wait_until(lambda: bench.commands.exists(f"lock:analysis:{mine}:pnl"), 10, "the lock")
            await asyncio.sleep(1.5)
        assert await failed(bench, job_id) == "TimeoutError: the handler ran longer than 1 s"
        assert await bench.commands.exists(f"lock:analysis:{mine}:pnl") == 0
    with database.connected() as db:
        assert database.analysis_of(db, mine, "pnl") is None


async def test_wished_a_circuit_breaker_isolates_the_queue_that_asks_a_chain_that_is_away(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = wallet()
    registry = Registry()
    queue = jobs.QUEUES["wallet-operations"]
    assert queue.breaker is not None
    registry.declare(replace(queue, attempts=1, breaker=replace(queue.breaker, cooldown=1)))
    registry.add("wallet-operations", "sync-wallet", jobs.sync_wallet, data=OfWallet)
    registry.add("analysis-operations", "analyze-pnl", jobs.analyze_pnl, data=OfWallet)
    async with Worker(registry, redis_url=bench.url):
        with monkeypatch.context() as away:
            away.setenv("EXAMPLE_CHAIN", f"http://127.0.0.1:{free_port()}")
            for each in [await submit(bench, ask().job("sync", wallet())) for _ in range(5)]:
                assert "ConnectError" in await failed(bench, each)
            waiting = await submit(bench, ask().job("sync", mine))
            await completed(bench, await submit(bench, ask().job("pnl", mine)))
            assert await bench.kinds(waiting) == ["job-queued"]
        assert (await completed(bench, waiting))["trades"] == len(on_chain(mine))
    assert stored(mine) == on_chain(mine)


def test_system_4_vectors_are_of_what_was_bought_or_of_what_was_put_in_without_excluded_tokens() -> None:
    trades = [Trade(str(at), token, side, 1, 10 * at, at) for at, (token, side) in enumerate(BOUGHT)]
    assert analysis.vector(trades, "binary") == {"a": 1, "b": 1}
    assert analysis.vector(trades, "capital") == {"a": 30, "b": 10}
    assert analysis.vector(trades, "capital", excluded=["a"]) == {"b": 10}


BOUGHT = [("a", "buy"), ("b", "buy"), ("c", "sell"), ("a", "buy"), ("a", "sell")]
ALIKE = {"one": {"a": 3, "b": 4}, "two": {"a": 3, "b": 4}, "three": {"b": 1, "c": 1}, "four": {"d": 1}}


@pytest.mark.parametrize(
    ("least", "found"),
    [
        (1, [(["one", "two"], 1.0), (["one", "three"], 0.5657), (["three", "two"], 0.5657)]),
        (2, [(["one", "two"], 1.0)]),
        (3, []),
    ],
)
def test_system_4_only_wallets_that_share_enough_tokens_are_compared(least: int, found: list[Any]) -> None:
    assert [(pair["wallets"], pair["similarity"]) for pair in analysis.compare(ALIKE, least)] == found


async def test_system_4_trades_outside_the_time_range_do_not_count() -> None:
    mine = wallet()
    trades = on_chain(mine)
    with database.connected() as db, database.transaction(db):
        assert database.add_trades(db, mine, [*trades, *trades]) == len(trades)
        since, until = trades[3].at, trades[9].at
        assert database.trades_of(db, mine, since, until) == trades[3:9]


def test_system_4_profit_is_exact_whatever_the_size_of_the_amounts() -> None:
    amount, cost = 10**30 + 1, 10**18 + 1
    trades = [
        Trade("1", "a", "buy", amount, cost, 1),
        Trade("2", "a", "buy", amount, 3 * cost + 2, 2),
        Trade("3", "a", "sell", amount, 2 * cost + 8, 3),
        Trade("4", "b", "sell", 5, 7, 4),
    ]
    result = analysis.profit_and_loss(trades)
    assert (result["byToken"], result["realized"], result["winRate"]) == ({"a": 7, "b": 7}, 14, 1.0)


def test_system_4_a_wallet_that_is_read_first_weighs_more_in_the_flow_and_most_of_it_is_the_reading() -> None:
    read, unread = wallet(), wallet()
    with database.connected() as db:
        database.mark_synced(db, read, 1)
        tree = Request("r", 1000).similarity(db, [unread, read], Rules())
    first, second = tree["children"]
    assert (first["opts"]["weight"], first["opts"]["childrenShare"]) == (4, 0.75)
    assert [child["opts"]["jobId"] for child in first["children"]] == [f"sync_{unread}_r_1000"]
    assert (second["opts"].get("weight", 1), second["children"]) == (1, [])


@pytest.mark.parametrize("wrong", [{"wallet": "x" * 40 + "\n"}, {"request": "r\n"}, {"wallet": "no-wallet"}], ids=str)
def test_system_4_what_is_no_wallet_or_request_is_refused(wrong: dict[str, str]) -> None:
    data = {"wallet": wallet(), "request": "r", "asked": 1}
    assert msgspec.convert(data, OfWallet).request == "r"
    with pytest.raises(msgspec.ValidationError, match="regex"):
        msgspec.convert({**data, **wrong}, OfWallet)


def test_system_4_too_few_wallets_are_refused_before_anything_is_queued() -> None:
    with (
        database.connected() as db,
        pytest.raises(BadData, match="got 1 among 3"),
    ):
        Request("r", 1).similarity(db, [wallet(), "no-wallet", min(SYSTEM)], Rules())
