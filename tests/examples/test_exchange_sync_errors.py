"""examples/exchange_sync, when things go wrong: errors by kind, dead letters, limits, health and what operators do."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from examples.exchange_sync.exchange import REVOKED, SLOW
from tests.conftest import RunNode
from tests.examples.exchange_system import STARTED, System, failures, running
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def system(redis_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running(redis_binary, tmp_path_factory.mktemp("exchange-sync")) as system:
        yield system


# Errors.


async def test_system_2_rate_limited_is_tried_again_after_the_limit_resets(system: System) -> None:
    """One attempt is all it has, and the limit uses up none of it."""
    events = await system.ended(system.sync(system.account("limited"), attempts=1))
    (failed,) = failures(events)
    assert events[-1][0] == "job-completed"
    assert (failed["attempts"], failed["final"]) == (0, False)
    assert 900 <= failed["retryAt"] - failed["timestamp"] <= 1100


async def test_system_2_network_and_unknown_are_tried_again_and_told_apart_in_the_log(system: System) -> None:
    job = system.sync(system.account("lost", "garbled", "broken"))
    events = await system.ended(job)
    assert events[-1][0] == "job-completed"
    assert [said["attempts"] for said in failures(events)] == [1, 2, 3]
    logged = [said["kind"] for said in system.logged("a job failed") if said["job_id"] == job]
    assert logged == ["network", "unknown", "server"]


async def test_system_2_the_back_off_of_api_calls_is_a_function_of_its_own(system: System) -> None:
    job = system.submit("api-calls", "quote", {"market": "NO-SUCH"})
    failed = failures(await system.ended(job))
    first, second, last = [said for said in failed if "429" not in said["error"]]
    waits = [said["retryAt"] - said["timestamp"] for said in (first, second)]
    assert 190 <= waits[0] <= 300
    assert 790 <= waits[1] <= 900
    assert last["final"]


async def test_system_2_authentication_is_never_tried_again_and_its_dead_letter_alerts_and_is_replayed(
    system: System,
) -> None:
    account = system.account(key=REVOKED)
    job = system.sync(account)
    (failed,) = failures(await system.ended(job))
    assert (failed["attempts"], failed["maxAttempts"], failed["final"]) == (1, 5, True)

    def letters() -> list[dict[str, Any]]:
        return [each for each in system.get("/dead-letters", limit=1000)["letters"] if each["jobId"] == job]

    (letter,) = await wait_until(letters, 10, "the letter")
    assert (letter["queue"], letter["name"], letter["data"]) == ("orders", "sync", msgspec.to_builtins(account))
    assert letter["error"] == failed["error"]
    assert letter["failedAt"] == failed["timestamp"]
    await system.result(letter["id"])
    await system.result(f"notify-{letter['id']}")
    ((text,),) = system.rows("SELECT text FROM exchange_notices WHERE user = ?", account.user_id)
    assert text == f"sync of queue orders failed for good: {failed['error']}"

    system.give(account, f"renewed-{account}")
    assert system.post(f"/dead-letters/{letter['id']}/replay")["jobId"] == job
    await wait_until(lambda: system.get(f"/jobs/{job}")["status"] == "completed", 20, "the replay")
    assert letters() == []


# The rate limit.


async def test_system_2_api_calls_are_made_ten_a_second(system: System) -> None:
    await asyncio.sleep(1)  # the second in which an earlier test made calls is over then
    jobs = [{"name": "quote", "data": {"market": "BTC-EUR"}, "opts": {"attempts": 20}}] * 25
    ids = system.post("/jobs/bulk", {"queue": "api-calls", "jobs": jobs})["jobIds"]

    def starts() -> list[int]:
        told = [said["timestamp"] for job in ids for kind, said in system.events(job)[:2] if kind == STARTED]
        return sorted(told) if len(told) == len(ids) else []

    began = await wait_until(starts, 20, "the start of each")
    # Ten in the second that begins with the first, ten in the next.
    assert began[10] - began[0] >= 800
    assert began[20] - began[0] >= 1800


# Health, operations.


async def test_system_2_health_counts_finds_stuck_jobs_logs_metrics_and_raises_alerts(system: System) -> None:
    slow = system.sync(system.account(key=SLOW))
    await system.ended(system.sync(system.account(key=REVOKED)))

    def stuck() -> list[dict[str, Any]]:
        queues = system.get("/health")["queues"]
        return [each for each in queues if each["name"] == "orders" and [job["id"] for job in each["stuck"]] == [slow]]

    (found,) = await wait_until(stuck, 10, "a stuck job")
    assert found["healthy"]
    assert found["counts"]["failed"] >= 1
    kinds = {"job-failure", "queue-unhealthy", "stuck"}
    await wait_until(lambda: kinds <= {said["kind"] for said in system.logged("alert")}, 15, "the alerts")
    metrics = [said for said in system.logged("queue metrics") if said["queue"] == "orders"]
    assert metrics[-1]["counts"]["failed"] >= 1


async def test_system_2_operations_show_pause_retry_and_clean_and_bull_board_reads_the_queue(
    system: System, run_node: RunNode
) -> None:
    account = system.account(key=REVOKED)
    job = system.sync(account)
    await system.ended(job)
    shown = system.get(f"/jobs/{job}/details")
    assert (shown["state"], shown["attemptsMade"], shown["data"]) == ("failed", 1, msgspec.to_builtins(account))
    assert "401" in shown["failedReason"]

    system.give(account, f"renewed-{account}")
    assert system.post("/queues/orders/retry-failed")["jobs"] >= 1
    await wait_until(lambda: system.get(f"/jobs/{job}")["status"] == "completed", 20, "the retry")

    system.post("/queues/orders/pause")
    waits = system.sync(account)
    assert system.get("/queues/orders")["paused"]
    await asyncio.sleep(0.3)
    assert system.get(f"/jobs/{waits}")["status"] == "waiting"
    system.post("/queues/orders/resume")
    await system.result(waits)

    board = await run_node("board.js", system.redis.url, "orders")
    assert waits in {each["id"] for each in json.loads(board.stdout)["jobs"]}, board.stderr
    await system.ended(system.sync(system.account(key=REVOKED)))
    for state in ("completed", "failed"):
        assert system.post("/queues/orders/clean", {"state": state})["jobs"] == 0, "none is 24 h or 7 days old"
        assert system.post("/queues/orders/clean", {"state": state, "olderThan": 0})["jobs"] >= 1
