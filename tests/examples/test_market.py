"""System 3: the back end of a prediction market, whole, with real webhooks to a receiver on this machine."""

import asyncio
import hashlib
import hmac
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from examples.market.payloads import (
    DeliverWebhook,
    Payload,
    ReconcileAll,
    ReconcileMarket,
    ResolveMarket,
    VerifyBackup,
    job_for,
)
from examples.market.sample import ADMIN, add_backup
from tests.examples.market import FIRST_WAIT, SECRET, System, add_endpoint, new, over
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

ENDPOINTS = ("broken", "fine", "flaky")


@pytest.fixture(scope="module")
def system(redis_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The whole, at work; the tests have markets and deliveries of their own."""
    with ExitStack() as stack:
        redis = RedisServer(redis_binary)
        stack.callback(redis.close)
        redis.start()
        system = System(stack, redis, tmp_path_factory.mktemp("market") / "examples.sqlite3")
        for endpoint in ENDPOINTS:
            add_endpoint(system.database, endpoint, f"{system.receiver.url}/{endpoint}")
        add_endpoint(system.database, "off", f"{system.receiver.url}/fine")
        system.run("UPDATE webhook_endpoints SET active = 0 WHERE id = ?", "off")
        asyncio.run(system.start())
        yield system


async def told(system: System, market: str) -> None:
    """Wait until every endpoint was told of a market, or will not be."""
    await wait_until(lambda: not system.database.pending_deliveries(market), 20, "the webhooks")


# Market resolution.


async def test_system_3_resolution_decides_every_prediction_and_fans_out_webhooks(system: System) -> None:
    market = system.market("no")
    result = await system.result(system.ask(ResolveMarket(market)))
    assert result == {"fresh": True, "won": result["won"], "lost": 20 - result["won"], "deliveries": 3}
    assert system.predictions(market) == {("no", "won"): result["won"], ("yes", "lost"): result["lost"]}
    await told(system, market)
    assert system.rows(
        "SELECT id, status, attempts FROM webhook_deliveries WHERE market_id = ? ORDER BY id", market
    ) == [
        (f"{market}-broken", "terminal", 6),
        (f"{market}-fine", "delivered", 1),
        (f"{market}-flaky", "delivered", 3),
    ]
    data = system.http.get(f"/jobs/deliver-{market}-fine/details").json()["data"]
    assert data == {"deliveryId": f"{market}-fine"}, "ids, not records"


async def test_system_3_a_market_already_resolved_is_a_success_and_nothing_is_done_twice(system: System) -> None:
    market = system.market()
    first = await system.result(system.ask(ResolveMarket(market)))
    before = system.rows("SELECT resolved_at FROM markets WHERE id = ?", market)
    await told(system, market)
    second = await system.result(system.again(ResolveMarket(market)))
    assert second == {**first, "fresh": False, "deliveries": 0}
    assert system.rows("SELECT resolved_at FROM markets WHERE id = ?", market) == before
    assert len(system.posts(f"{market}-fine")) == 1


async def test_system_3_resolution_is_atomic(system: System) -> None:
    market = system.market()
    refusing = f"WHEN NEW.market_id = '{market}' BEGIN SELECT raise(ABORT, 'no room'); END"
    system.run(f"CREATE TRIGGER refuse BEFORE INSERT ON webhook_deliveries {refusing}")
    try:
        job = system.ask(ResolveMarket(market), attempts=20)
        failure = await system.seen(job, lambda event: event[0] == "job-failed")
        assert failure["error"] == "IntegrityError: no room"
        assert {status for _, status in system.predictions(market)} == {"open"}
        assert system.rows("SELECT resolved_at FROM markets WHERE id = ?", market) == [(None,)]
    finally:
        system.run("DROP TRIGGER refuse")
    assert (await system.result(job))["fresh"]


async def test_system_3_resolution_outlives_a_worker_killed_between_the_commit_and_the_webhooks(
    system: System,
) -> None:
    market = system.outlived
    result = await system.result(f"resolve-{market}", 40)
    assert (result["fresh"], result["deliveries"]) == (False, 3)
    assert sum(system.predictions(market).values()) == 20
    await told(system, market)
    assert len(system.posts(f"{market}-fine")) == 1


async def test_system_3_a_market_without_an_outcome_is_tried_again(system: System) -> None:
    market = system.market(None)
    job = system.ask(ResolveMarket(market), attempts=20, backoff={"type": "fixed", "delay": 100})
    failure = await system.seen(job, lambda event: event[0] == "job-failed")
    assert (failure["final"], failure["error"]) == (False, f"NotDecided: market {market} has no outcome yet")
    system.run("UPDATE markets SET outcome = 'no' WHERE id = ?", market)
    assert (await system.result(job))["fresh"]


# Webhooks.


async def test_system_3_a_webhook_is_signed_with_hmac_sha256_over_its_body(system: System) -> None:
    market = system.market()
    await system.result(system.ask(ResolveMarket(market)))
    (post,) = await wait_until(lambda: system.posts(f"{market}-fine"), 10, "the webhook")
    assert post.signature == "sha256=" + hmac.new(SECRET.encode(), post.body, hashlib.sha256).hexdigest()
    said = json.loads(post.body)
    assert (said["deliveryId"], said["event"], said["outcome"]) == (f"{market}-fine", "market.resolved", "yes")


async def test_system_3_a_webhook_is_signed_with_the_secret_of_its_endpoint(system: System) -> None:
    endpoint = new("stranger")
    add_endpoint(system.database, endpoint, f"{system.receiver.url}/fine", "another secret")
    job = system.ask(DeliverWebhook(system.delivery(endpoint)))
    assert "HTTP 401" in (await system.seen(job, lambda event: event[0] == "job-failed"))["error"]
    system.run("UPDATE webhook_endpoints SET secret = ? WHERE id = ?", SECRET, endpoint)
    assert (await system.result(job))["attempts"] >= 2
    system.run("UPDATE webhook_endpoints SET active = 0 WHERE id = ?", endpoint)


async def test_system_3_a_failed_delivery_is_tried_again_at_its_own_next_time_exponentially(system: System) -> None:
    delivery = system.delivery("broken")
    last = await system.failed(job := system.ask(DeliverWebhook(delivery)))
    waits = [said["retryAt"] - said["timestamp"] for _, said in system.events(job) if said.get("final") is False]
    assert waits == [round(1000 * FIRST_WAIT * 2**n) for n in range(5)]
    assert last["attempts"] == 1, "of the job's three attempts these tries used up none"
    assert last["error"] == f"Unrecoverable: delivery {delivery} to endpoint broken, attempt 6: HTTP 503; given up"
    assert len(system.posts(delivery)) == 6


async def test_system_3_a_delivery_that_is_not_due_waits(system: System) -> None:
    due = round(time.time() * 1000) + 1500
    delivery = system.delivery("fine", due)
    job = system.ask(DeliverWebhook(delivery))
    assert await system.result(job) == {"attempts": 1}
    starts = [said["timestamp"] for kind, said in system.events(job) if kind == "job-queue-to-start"]
    assert len(starts) >= 2
    assert starts[-1] >= due - 50


async def test_system_3_a_webhook_already_delivered_or_terminal_is_skipped(system: System) -> None:
    for endpoint, status, posts in (("fine", "delivered", 1), ("broken", "terminal", 6)):
        delivery = system.delivery(endpoint)
        await system.seen(system.ask(DeliverWebhook(delivery)), over)
        assert await system.result(system.again(DeliverWebhook(delivery))) == {"skipped": status}
        assert len(system.posts(delivery)) == posts


async def test_system_3_an_endpoint_that_is_switched_off_is_told_nothing(system: System) -> None:
    delivery = system.delivery("off")
    last = await system.failed(system.ask(DeliverWebhook(delivery)))
    assert last["error"].endswith(f"endpoint off of delivery {delivery} is switched off")
    assert system.posts(delivery) == []


# Backups and books.


async def test_system_3_a_failed_verification_fails_the_job_and_is_written_down(system: System) -> None:
    whole, cut = new("backup"), new("backup")
    add_backup(system.database, whole)
    path = add_backup(system.database, cut)
    path.write_bytes(path.read_bytes()[:-512])
    assert await system.result(system.ask(VerifyBackup(whole))) == {"backupId": whole}
    last = await system.failed(system.ask(VerifyBackup(cut)))
    assert (last["attempts"], last["error"].split(":")[0]) == (1, "BackupBroken")
    ((fault,),) = system.rows("SELECT fault FROM backups WHERE id = ? AND verified_at > 0", cut)
    assert last["error"] == f"BackupBroken: {fault}"
    assert system.rows("SELECT fault FROM backups WHERE id = ? AND verified_at > 0", whole) == [(None,)]


def cut_off_inside(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:4096] + b"no page of a database" * 500)


def with_an_index_that_lacks_rows(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA writable_schema = ON")
        other = "replace(sql, '(market_id)', '(side)')"
        db.execute(f"UPDATE sqlite_master SET sql = {other} WHERE name = 'predictions_by_market'")


@pytest.mark.parametrize("spoil", [cut_off_inside, with_an_index_that_lacks_rows])
async def test_system_3_a_backup_that_sqlite_does_not_find_whole_is_broken_though_its_digest_is_right(
    system: System, spoil: Callable[[Path], None]
) -> None:
    backup = new("backup")
    system.market()
    spoil(path := add_backup(system.database, backup))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    system.run("UPDATE backups SET sha256 = ? WHERE id = ?", digest, backup)
    assert (await system.failed(system.ask(VerifyBackup(backup))))["error"].startswith("BackupBroken: ")


async def test_system_3_reconciliation_of_one_market_writes_down_who_asked_and_of_all_finds_the_rest(
    system: System,
) -> None:
    right, wrong = system.market(), system.market(lost=1)
    fault = f"market {wrong}: the pool holds 1999 cents, its predictions 2000"
    for market, faults in ((right, []), (wrong, [fault])):
        asked = new("asked")
        job = system.ask(ReconcileMarket(market, ADMIN, "192.0.2.7", asked))
        assert await system.result(job) == {"faults": len(faults)}
        ((*who, found),) = system.rows(
            "SELECT market_id, admin_address, ip, faults FROM reconciliations WHERE id = ?", asked
        )
        assert (who, json.loads(found)) == ([market, ADMIN, "192.0.2.7"], faults)
    job = system.ask(ReconcileAll())
    assert (await system.result(job))["faults"] >= 1
    ((found,),) = system.rows("SELECT faults FROM reconciliations WHERE id = ? AND market_id IS NULL", job)
    assert fault in json.loads(found)
    assert fault in [said["line"] for kind, said in system.events(job) if kind == "job-log"]


MARKET = {"type": "market", "marketId": "m", "adminAddress": ADMIN, "ip": "::1", "correlationId": "c"}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"type": "galaxy"}, "type"),
        ({}, "type"),
        *(({name: value for name, value in MARKET.items() if name != gone}, gone) for gone in sorted(MARKET)),
        ({**MARKET, "adminAddress": "0xad"}, "adminAddress"),
        ({**MARKET, "note": "a record"}, "note"),
    ],
)
async def test_system_3_an_unknown_type_or_a_missing_field_fails_at_once_before_any_work(
    system: System, data: dict[str, Any], words: str
) -> None:
    before = system.rows("SELECT count(*) FROM reconciliations")
    last = await system.failed(system.jobs.submit("reconciliation", "reconcile", data).job_id)
    assert last["error"].startswith("BadData: ")
    assert words in last["error"]
    assert (last["attempts"], last["maxAttempts"]) == (1, 3)
    assert system.rows("SELECT count(*) FROM reconciliations") == before


@pytest.mark.parametrize(
    "payload",
    [
        DeliverWebhook(""),
        ResolveMarket("two words"),
        VerifyBackup(7),  # type: ignore[arg-type]
        ResolveMarket("two-lines\n"),
        ReconcileMarket("m", "nobody", "::1", "c"),
    ],
)
def test_system_3_a_payload_is_checked_when_it_is_enqueued(payload: Payload) -> None:
    with pytest.raises(ValueError, match=type(payload).__name__):
        job_for(payload)


@pytest.mark.parametrize(
    "payload", [DeliverWebhook("gone"), ResolveMarket("gone"), VerifyBackup("gone")], ids=lambda payload: payload.job
)
async def test_system_3_an_id_that_leads_nowhere_fails_at_once(system: System, payload: Payload) -> None:
    last = await system.failed(system.again(payload))
    assert last["attempts"] == 1
    assert "there is no" in last["error"]
    assert "gone" in last["error"]


async def test_system_3_a_failure_is_logged_with_job_id_domain_ids_and_message_and_no_stack(system: System) -> None:
    backup = new("backup")
    add_backup(system.database, backup).unlink()
    job = system.ask(VerifyBackup(backup), attempts=1)
    error = (await system.failed(job))["error"]
    lines = [line for line in system.at_work.stderr.splitlines() if job in line and "No such file" in line]
    assert any(f"{{'backupId': '{backup}'}}" in line for line in lines)
    assert error.startswith("FileNotFoundError: ")
    assert "handlers.py" not in system.at_work.stderr
    assert "Traceback" not in system.at_work.stderr
    assert "Traceback" in json.dumps(system.http.get(f"/jobs/{job}/details").json()), "a person finds it there"
