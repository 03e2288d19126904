"""System 4: wallets that are read, analysed and compared, by two worker processes."""

import asyncio
import itertools
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.wallet_analysis import analysis, database
from examples.wallet_analysis.flows import SYSTEM
from jobcast.shared.dead_letters import DeadLetters
from jobcast.shared.definitions import Definitions, JobTimes, QueueWords
from jobcast.shared.events import JobFailed, JobProgress
from jobcast.shared.options import Backoff, Keep
from tests.conftest import StartRedis
from tests.examples.wallets import (
    ask,
    compared,
    completed,
    failed,
    on_chain,
    ready,
    start_workers,
    stored,
    submit,
    surroundings,
    wallet,
)
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until
from tests.worker.conftest import Bench, bench_at
from tests.worker.flows import percents

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are tied to our life by Linux' prctl")
TABLE = {
    "wallet-operations": (3, Backoff("exponential", 2000), 50, 100, 1),
    "analysis-operations": (8, Backoff("exponential", 3000), 100, 200, 3),
    "similarity-operations": (2, Backoff("exponential", 3000), 50, 100, 1),
    "enrichment-operations": (3, Backoff("fixed", 2000), 50, 100, 1),
}
MINUTES = {
    "wallet-operations": {"sync-wallet": (10, 15), "fetch-balance": (5, 8)},
    "analysis-operations": {
        "analyze-pnl": (5, 8),
        "analyze-behavior": (5, 8),
        "dashboard-wallet-analysis": (15, 20),
    },
    "similarity-operations": {"calculate-similarity": (30, 45)},
    "enrichment-operations": {"enrich-token-balances": (20, 30)},
}


@pytest.fixture(scope="module")
def redis(redis_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The whole system, for all tests here; each has wallets of its own."""
    server = RedisServer(redis_binary)
    try:
        server.start()
        with surroundings(tmp_path_factory.mktemp("wallets")), start_workers(server, 2) as child:
            asyncio.run(ready(child, 2))
            yield server
    finally:
        server.close()


@pytest.fixture
async def bench(redis: RedisServer) -> AsyncIterator[Bench]:
    async with bench_at(redis.url) as bench:
        yield bench


async def test_system_4_the_queues_are_worked_as_its_tables_say(bench: Bench) -> None:
    for queue, (concurrency, backoff, done, lost, stalls) in TABLE.items():
        assert await Definitions(bench.commands).read(queue) == QueueWords(
            concurrency=concurrency,
            attempts=3,
            backoff=backoff,
            remove_on_complete=Keep(count=done),
            remove_on_fail=Keep(count=lost),
            max_stalled_count=stalls,
            jobs={name: JobTimes(60 * timeout, 60 * stale) for name, (timeout, stale) in MINUTES[queue].items()},
        )


async def test_system_4_a_lock_is_one_job_s_at_a_time_and_who_finds_it_held_is_tried_again_later(bench: Bench) -> None:
    late = wallet("Late")
    key = f"lock:wallet:{late}:sync"
    first = await submit(bench, ask().job("sync", late))
    owner: Any = await wait_until(lambda: bench.commands.get(key), 10, "the lock")
    assert owner.decode().startswith(f"{first}/")
    assert 0 < await bench.commands.pttl(key) <= 300_000
    second = await submit(bench, ask().job("sync", late))
    result = await completed(bench, second)
    refused = next(event for event in await bench.events(second) if isinstance(event, JobFailed))
    assert (refused.error, refused.final) == (f"LockHeld: lock {key} is held by job {first}", False)
    assert refused.attempts == 0
    assert (await completed(bench, first))["new"] == len(on_chain(late)) == result["trades"]
    assert result["new"] == 0
    assert await bench.commands.get(key) is None


async def test_system_4_a_profit_and_loss_job_tells_its_steps_and_is_skipped_when_fresh_unless_forced(
    bench: Bench,
) -> None:
    mine = wallet()
    await completed(bench, await submit(bench, ask().job("sync", mine)))
    first = await submit(bench, ask().job("pnl", mine))
    result = await completed(bench, first)
    assert result == analysis.profit_and_loss(on_chain(mine))
    assert percents(await bench.events(first)) == [5, 20, 90, 100]
    again = await submit(bench, ask().job("pnl", mine))
    assert await completed(bench, again) == {**result, "skipped": True}
    assert percents(await bench.events(again)) == [5]
    forced = await submit(bench, ask().job("pnl", mine, more={"force": True}))
    assert await completed(bench, forced) == result


async def test_system_4_a_job_whose_id_is_not_the_expected_one_fails_at_once(bench: Bench) -> None:
    mine = wallet()
    request = ask()
    job = request.job("pnl", mine)
    assert job["opts"]["jobId"] == f"pnl_{mine}_{request.id}_{request.asked}"
    error = await failed(bench, await submit(bench, job, jobId=f"other-{request.id}"))
    assert error.startswith(f"BadData: expected job id pnl_{mine}_")


async def test_system_4_an_unknown_job_name_fails_by_name(bench: Bench) -> None:
    error = await failed(bench, await submit(bench, {**ask().job("pnl", wallet()), "name": "analyze-luck"}))
    assert "analyze-luck" in error
    assert "there are: analyze-behavior, analyze-pnl, dashboard-wallet-analysis" in error


async def test_system_4_an_analysis_is_tried_again_until_the_sync_it_depends_on_is_completed(bench: Bench) -> None:
    mine = wallet()
    sync = ask().job("sync", mine)
    waiting = await submit(bench, ask().job("behavior", mine, more={"dependsOn": sync["opts"]["jobId"]}))
    refused: Any = await bench.seen(waiting, "job-failed")
    assert (refused.final, refused.error.split(":")[0]) == (False, "DependencyNotReady")
    await completed(bench, await submit(bench, sync))
    assert await completed(bench, waiting) == analysis.behavior(on_chain(mine))


async def test_system_4_a_comparison_syncs_analyses_and_compares_and_is_watched_live(bench: Bench) -> None:
    good, gone, program = [wallet("Late" * (number == 0)) for number in range(5)], wallet("Gone"), min(SYSTEM)
    job_id = await compared(bench, [*good, gone, "no-wallet", program], min_shared=3)
    result = await completed(bench, job_id)
    assert result["requested"] == [*good, gone, "no-wallet", program]
    assert (result["processed"], result["invalid"], result["system"]) == (good, ["no-wallet"], [program])
    assert list(result["failed"]) == [gone]
    assert "the chain does not know" in result["failed"][gone]
    assert (result["rate"], result["took"] > 0) == (0.8333, True)
    assert result["pairs"] == analysis.compare({each: analysis.vector(on_chain(each), "capital") for each in good}, 3)
    assert (await completed(bench, result["enrichmentJob"]))["batches"] <= 1

    events = await bench.events(job_id)
    waited = list(itertools.takewhile(lambda event: event.kind != "job-queue-to-start", events))
    assert waited != events
    told = [event.percent for event in waited if isinstance(event, JobProgress) and event.percent is not None]
    assert told == sorted(told)
    assert len(set(told)) >= 3
    assert told[-1] <= 90, "the children's share of it"
    assert percents(events)[-2:] == [92, 97], "its own work is the rest"


@pytest.mark.parametrize("threshold", [0.8, 0.5])
async def test_system_4_a_comparison_tolerates_failures_up_to_its_threshold(bench: Bench, threshold: float) -> None:
    job_id = await compared(bench, [wallet(), wallet(), wallet("Gone")], threshold=threshold)
    if threshold == 0.5:
        assert (await completed(bench, job_id))["rate"] == 0.6667
    else:
        assert await failed(bench, job_id) == "TooManyFailed: 1 of 3 failed, 2 succeeded; at least 80% must succeed"


async def test_system_4_only_wallets_that_need_it_are_synced(bench: Bench) -> None:
    read, unread = wallet(), wallet()
    await completed(bench, await submit(bench, ask().job("sync", read)))
    job_id = await compared(bench, [read, unread])
    assert (await completed(bench, job_id))["processed"] == [read, unread]
    assert (len(stored(read)), len(stored(unread))) == (len(on_chain(read)), len(on_chain(unread)))
    keys = [key async for key in bench.client.scan_iter(match=f"bull:wallet-operations:sync_{read}_*")]
    assert len([key for key in keys if key.count(":") == 2]) == 1


async def nothing_to_enrich(bench: Bench) -> bool:
    key = "bull:enrichment-operations"
    lists = [await bench.commands.llen(f"{key}:{state}") for state in ("wait", "active")]
    return not any([*lists, await bench.commands.zcard(f"{key}:prioritized")])


@pytest.mark.parametrize("how", ["sync", "background", "hybrid"])
async def test_system_4_enrichment_is_in_batches_at_once_in_the_background_or_both(bench: Bench, how: str) -> None:
    both = [wallet(), wallet()]
    traded = {trade.token for each in both for trade in on_chain(each)}
    await wait_until(lambda: nothing_to_enrich(bench), 15, "the enrichment of other tests' wallets")
    with database.connected() as db, database.transaction(db):
        db.execute("DELETE FROM tokens")
    result = await completed(bench, await compared(bench, both, enrichment=how, batch_size=2))
    if how == "sync":
        assert result["enrichmentJob"] is None
    else:
        left = len(traded) - (2 if how == "hybrid" else 0)
        later = await completed(bench, result["enrichmentJob"])
        assert later == {"tokens": left, "batches": (left + 1) // 2}
    with database.connected() as db:
        assert database.tokens_without_price(db, both, 0) == []


async def test_system_4_a_dashboard_is_put_together_for_a_person_who_waits(bench: Bench) -> None:
    mine = wallet()
    flow = ask("critical").dashboard(mine)
    job_id = await submit(bench, flow)
    result = await completed(bench, job_id)
    assert result["pnl"] == analysis.profit_and_loss(on_chain(mine))
    assert result["behavior"] == analysis.behavior(on_chain(mine))
    for queue, each in (("analysis-operations", flow), *(("wallet-operations", child) for child in flow["children"])):
        assert (await bench.bullmq(each["opts"]["jobId"], queue))["priority"] == "1"


async def test_system_4_what_is_used_up_is_a_dead_letter(bench: Bench) -> None:
    job_id = await submit(bench, ask().job("balance", wallet("Gone")))
    error = await failed(bench, job_id)
    letters = [each.letter for each in await DeadLetters(bench.queues, bench.journal).letters()]
    letter = next(each for each in letters if each.job_id == job_id)
    assert (letter.queue, letter.name, letter.error) == ("wallet-operations", "fetch-balance", error)


async def test_system_4_a_wallet_whose_worker_was_killed_is_read_on_by_another_and_has_each_trade_once(
    redis: RedisServer, start_redis: StartRedis
) -> None:
    late, own = wallet("Late"), start_redis()
    async with bench_at(own.url) as bench:
        first = await submit(bench, ask().job("sync", late))
        with start_workers(own, 1) as victim:
            await wait_until(lambda: stored(late), 20, "the first page")
            victim.kill()
        assert 0 < len(stored(late)) < len(on_chain(late))
        # What the dead job's lock has left of its five minutes is not waited for.
        assert await bench.commands.delete(f"lock:wallet:{late}:sync") == 1
        second = await submit(bench, ask().job("sync", late))
        with start_workers(own, 1):
            assert (await completed(bench, second, 30))["trades"] == len(on_chain(late))
    assert stored(late) == on_chain(late)
    assert first != second
