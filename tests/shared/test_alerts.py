"""Alerts: raised once, delivered at least once, signed, and owed by whatever fails. Named for reference-systems.md."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from jobcast.shared import logs
from jobcast.shared.alerts import LogSink, Outbox, Sink, WebhookSink, is_genuine, sink_of
from jobcast.shared.alerts.collector import Collector
from jobcast.shared.alerts.deliverer import Deliverer
from jobcast.shared.alerts.sinks import signature
from jobcast.shared.clock import now_ms
from jobcast.shared.health import Health, Thresholds
from jobcast.shared.health_rounds import HealthRounds, Limits
from jobcast.shared.journal import Life, RedisJournal
from jobcast.shared.keys import Keys
from jobcast.shared.lease import Lease
from jobcast.shared.operations import Operations
from jobcast.shared.redis import connect
from jobcast.shared.settings import Settings
from tests.contract.jobs import bring, failed
from tests.shared.bullmq import Site
from tests.support.receiver import Receiver, receiving
from tests.support.waiting import wait_until

KEYS = Keys()
SECRET = "under the mat"


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    client = connect(redis_url, name="alerts")
    yield client
    await client.aclose()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def sink(receiver: Receiver) -> AsyncIterator[WebhookSink]:
    sink = WebhookSink(receiver.url, SECRET)
    yield sink
    await sink.close()


def deliverer(client: Redis, sink: Sink, *, lease: float = 30.0, deadline: float = 0.3) -> Deliverer:
    held = Lease(client, KEYS.lease("alerts"), lease)
    return Deliverer(Outbox(client, KEYS), sink, held, deadline=deadline, first_delay=0.02)


async def raise_one(outbox: Outbox, key: str = "k", **details: Any) -> str:
    alert_id = await outbox.raise_alert("stuck", key, queue="films", text="a job is stuck", details=details)
    assert alert_id is not None
    return alert_id


async def until_delivered(client: Redis, found: Deliverer) -> None:
    async def empty() -> bool:
        await found.deliver()
        return not await client.exists(KEYS.alerts("due"))

    await wait_until(empty, 10, "an empty outbox")


# The outbox.


async def test_the_same_key_within_the_window_is_one_alert_with_a_count(
    client: Redis, receiver: Receiver, sink: Sink
) -> None:
    outbox = Outbox(client, KEYS)
    first = await raise_one(outbox)
    assert [await raise_one(outbox) for _ in range(4)] == [first] * 4
    other = await raise_one(outbox, "another")
    await until_delivered(client, deliverer(client, sink))
    assert {post.alert["id"]: post.alert["count"] for post in receiver.posts} == {first: 5, other: 1}


async def test_repeats_after_the_delivery_are_told_by_the_next_alert_of_the_key(
    client: Redis, receiver: Receiver, sink: Sink
) -> None:
    outbox, holder = Outbox(client, KEYS, window=0.2), deliverer(client, sink)
    first = await raise_one(outbox)
    await until_delivered(client, holder)
    assert await raise_one(outbox) == first
    await asyncio.sleep(0.25)
    second = await raise_one(outbox)
    assert second != first
    await until_delivered(client, holder)
    assert [(post.alert["id"], post.alert["count"]) for post in receiver.posts] == [(first, 1), (second, 2)]


async def test_a_full_outbox_refuses_the_new_and_counts_it(client: Redis) -> None:
    outbox = Outbox(client, KEYS, most=2)
    for key in ("a", "b"):
        await raise_one(outbox, key)
    assert await outbox.raise_alert("stuck", "c", queue="films", text="t") is None
    assert await outbox.lost() == 1
    assert [pending.alert.key for pending in await outbox.due(10)] == ["a", "b"]
    assert await raise_one(outbox, "a"), "a repeat takes no room"


# Delivery.


async def test_an_alert_is_posted_signed_and_the_signature_holds_for_it_alone(
    client: Redis, receiver: Receiver, sink: Sink
) -> None:
    alert_id = await raise_one(Outbox(client, KEYS), jobIds=["7"], odd=object())
    await until_delivered(client, deliverer(client, sink))
    (post,) = receiver.posts
    stamp, mark = post.headers["jobcast-timestamp"], post.headers["jobcast-signature"]
    assert post.alert["id"] == post.headers["jobcast-alert"] == alert_id
    assert (post.alert["kind"], post.alert["queue"], post.alert["details"]["jobIds"]) == ("stuck", "films", ["7"])
    assert is_genuine(SECRET, stamp, mark, post.body)
    assert not is_genuine(SECRET, stamp, mark, post.body + b" ")
    assert not is_genuine("another", stamp, mark, post.body)
    assert not is_genuine(SECRET, str(int(stamp) + 1), mark, post.body)
    assert not is_genuine(SECRET, stamp, mark, post.body, now=int(stamp) + 301), "a replay"
    assert not is_genuine(SECRET, "now", mark, post.body)


async def test_the_check_for_node_in_the_docs_takes_what_is_ours_and_nothing_else(
    node: Path,
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    stamp, body = str(int(time.time())), '{"text": "\u00fc"}'.encode()
    mark = signature(SECRET.encode(), stamp, body)
    old = str(int(stamp) - 301)
    asked = [
        [stamp, mark], [stamp, mark[:-1] + "x"], [stamp, "v1="], [stamp, None], [str(int(stamp) + 1), mark],
        [old, signature(SECRET.encode(), old, body)], ["now", signature(SECRET.encode(), "now", body)],
    ]  # fmt: skip
    script = page.partition("```js\n")[2].partition("```")[0] + (
        f"const body = Buffer.from({body.hex()!r}, 'hex');"
        f"console.log(JSON.stringify({json.dumps(asked)}.map(([at, mark]) => isGenuine({SECRET!r}, at, mark, body))))"
    )
    process = await asyncio.create_subprocess_exec(
        node, "--input-type=module", "--eval", script, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await asyncio.wait_for(process.communicate(), 20)
    assert json.loads(said) == [True] + [False] * 6


async def test_an_alert_is_offered_until_it_is_taken_by_a_receiver_that_fails_hangs_drips_cuts_and_redirects(
    client: Redis, receiver: Receiver, sink: Sink
) -> None:
    receiver.moods = ["fail", "hang", "drip", "cut", "redirect"]
    alert_id = await raise_one(Outbox(client, KEYS))
    await until_delivered(client, deliverer(client, sink))
    assert receiver.ids == [alert_id] * 6


async def test_an_alert_outlives_a_receiver_that_is_down_and_a_deliverer_that_is_gone(
    client: Redis, receiver: Receiver
) -> None:
    await receiver.stop()
    alert_id = await raise_one(Outbox(client, KEYS))
    sink = WebhookSink(receiver.url, SECRET)
    assert await deliverer(client, sink, lease=0.2).deliver() == 0
    await sink.close()
    await receiver.start()
    sink = WebhookSink(receiver.url, SECRET)
    await until_delivered(client, deliverer(client, sink))
    await sink.close()
    assert receiver.ids == [alert_id]


async def test_a_deliverer_that_dies_within_a_post_leaves_the_alert_to_the_next(
    client: Redis, receiver: Receiver, sink: Sink
) -> None:
    receiver.moods = ["hang"]
    alert_id = await raise_one(Outbox(client, KEYS))
    dying = asyncio.create_task(deliverer(client, sink, lease=0.3, deadline=30).deliver())
    await wait_until(lambda: receiver.posts, 5, "the first post")
    dying.cancel()
    assert await deliverer(client, sink).deliver() == 0, "the dead one's lease still stands"
    await until_delivered(client, deliverer(client, sink))
    assert receiver.ids == [alert_id] * 2, "once again, under the same id"


async def test_one_that_is_refused_for_ever_does_not_hold_up_the_others(
    client: Redis, receiver: Receiver, sink: Sink
) -> None:
    receiver.moods = ["fail"]
    outbox = Outbox(client, KEYS)
    first, second = await raise_one(outbox, "a"), await raise_one(outbox, "b")
    assert await deliverer(client, sink).deliver() == 1
    assert receiver.ids == [first, second]


async def test_no_secret_is_logged(
    client: Redis, receiver: Receiver, sink: Sink, capfd: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    logs.configure("info", "json")
    try:
        receiver.moods = ["fail"]
        await raise_one(Outbox(client, KEYS))
        await until_delivered(client, deliverer(client, sink))
    finally:
        root.handlers[:], root.level = before, level
    said = capfd.readouterr().err
    assert "the receiver answered 500" in said
    assert "hush" not in said
    assert SECRET not in said


async def test_without_an_address_alerts_are_logged() -> None:
    assert isinstance(sink_of(Settings()), LogSink)


# Who owes them.


def collector(client: Redis, site: Site) -> Collector:
    return Collector(client, KEYS, Operations(site.queues, site.journal), Outbox(client, KEYS))


async def test_system_2_and_4_a_job_failure_is_an_alert_with_stack_and_attempts(client: Redis, site: Site) -> None:
    job_id = (await site.queues.submit("films", "encode", {})).job_id
    await site.fail(job_id)
    found = collector(client, site)
    assert (await found.collect(), await found.collect()) == (1, 0)
    ((pending),) = await Outbox(client, KEYS).due(10)
    alert = pending.alert
    assert (alert.kind, alert.queue, alert.details["jobId"]) == ("job-failure", "films", job_id)
    assert (alert.details["error"], alert.details["attempts"], alert.details["name"]) == ("disk full", 1, "encode")
    assert alert.details["stack"]
    assert "disk full" in alert.text


async def test_system_4_a_queue_stall_is_an_alert_with_job_ids(client: Redis, site: Site) -> None:
    for job_id in ("a", "b"):
        await bring(site.journal, job_id, "stalled")
    await collector(client, site).collect()
    ((pending),) = await Outbox(client, KEYS).due(10)
    assert (pending.alert.kind, pending.alert.details) == ("queue-stall", {"jobIds": ["a", "b"]})


async def test_the_stall_of_another_job_of_the_queue_is_told_though_one_was_told_just_now(
    client: Redis, site: Site, receiver: Receiver, sink: Sink
) -> None:
    holder = deliverer(client, sink)
    for job_id in ("a", "b"):
        await bring(site.journal, job_id, "stalled")
        await collector(client, site).collect()
        await until_delivered(client, holder)
    assert [post.alert["details"]["jobIds"] for post in receiver.posts] == [["a"], ["b"]]


async def test_a_job_that_cannot_be_read_is_an_alert_and_holds_up_no_other(client: Redis, site: Site) -> None:
    jobs = [(await site.queues.submit("films", "encode", {})).job_id for _ in range(2)]
    for job_id in jobs:
        await site.fail(job_id)
    site.behind.hset(f"bull:films:{jobs[0]}", "data", "not json")
    assert await collector(client, site).collect() == 2
    found = await Outbox(client, KEYS).due(10)
    assert sorted(pending.alert.details["jobId"] for pending in found) == sorted(jobs)


async def test_what_a_full_outbox_refuses_is_still_owed(client: Redis, site: Site) -> None:
    for job_id in ("a", "b"):
        await bring(site.journal, job_id, "failed")
    outbox = Outbox(client, KEYS, most=1)
    found = Collector(client, KEYS, Operations(site.queues, site.journal), outbox)
    assert (await found.collect(), await found.collect()) == (1, 0)
    ((pending),) = await outbox.due(10)
    await outbox.done(pending.alert)
    assert await found.collect() == 1
    assert [pending.alert.details["jobId"] for pending in await outbox.due(10)] == ["b"]


async def test_a_job_of_a_short_life_does_not_shorten_that_of_what_is_owed(client: Redis, site: Site) -> None:
    await bring(site.journal, "long", "failed")
    await bring(RedisJournal(client, KEYS, Life(256, 60_000)), "short", "failed")
    assert await client.pttl(KEYS.troubles()) > 60_000


async def test_a_failure_that_is_tried_again_owes_nothing_and_one_told_twice_owes_once(
    client: Redis, site: Site
) -> None:
    await bring(site.journal, "again", "delayed after a failed try")
    await bring(site.journal, "over", "failed")
    with pytest.raises(Exception, match="closed"):
        await site.journal.append(failed("over"))
    found = collector(client, site)
    assert await found.collect() == 1
    # As a collector that died after it had raised, before it took the entry off.
    await client.rpush(KEYS.troubles(), "job-failed films 1 over")
    await found.collect()
    assert [pending.alert.count for pending in await Outbox(client, KEYS).due(10)] == [2]
    assert not await client.exists(KEYS.troubles())


# Health rounds.


def rounds(client: Redis, site: Site, every: float = 300.0) -> HealthRounds:
    health = Health(site.queues, KEYS, Thresholds())
    outbox = Outbox(client, KEYS)
    return HealthRounds(client, KEYS, site.journal, health=health, outbox=outbox, limits=Limits(every=every))


async def test_system_2_alerts_are_raised_for_failed_over_50_waiting_over_500_and_any_stuck(
    client: Redis, site: Site
) -> None:
    await bring(site.journal, "j", "waiting")
    site.behind.zadd("bull:films:failed", {f"f{number}": 1 for number in range(50)})
    site.behind.lpush("bull:films:wait", *(f"w{number}" for number in range(500)))
    assert await rounds(client, site).look()
    assert await Outbox(client, KEYS).due(10) == []
    await client.delete(KEYS.lease("health:young"))
    site.behind.zadd("bull:films:failed", {"one-more": 1})
    site.behind.lpush("bull:films:wait", "one-more")
    site.behind.lpush("bull:films:active", "old")
    site.behind.hset("bull:films:old", mapping={"name": "encode", "processedOn": now_ms() - 301_000})
    assert await rounds(client, site).look()
    found = {pending.alert.key: pending.alert for pending in await Outbox(client, KEYS).due(10)}
    assert {(alert.kind, key) for key, alert in found.items()} == {
        ("queue-unhealthy", "films failed"), ("queue-unhealthy", "films waiting"), ("stuck", "films"),
    }  # fmt: skip
    assert found["films failed"].details["count"] == 51
    assert found["films"].details["jobIds"] == ["old"]


async def test_system_2_metrics_are_logged_every_5_minutes_by_one_process(
    client: Redis, site: Site, capfd: pytest.CaptureFixture[str]
) -> None:
    await bring(site.journal, "j", "waiting")
    made = await asyncio.gather(*(rounds(client, site).look() for _ in range(5)))
    assert sum(made) == 1
    assert not await rounds(client, site).look()
    assert 299_000 < await client.pttl(KEYS.lease("health:young")) <= 300_000
    await client.delete(KEYS.lease("health:young"))
    assert await rounds(client, site).look()


async def test_a_process_that_dies_on_its_round_is_replaced(client: Redis, site: Site) -> None:
    await bring(site.journal, "j", "waiting")
    dead = Lease(client, KEYS.lease("health"), 0.3)
    assert await dead.hold()
    next_one = rounds(client, site)
    assert not await next_one.look()
    await wait_until(next_one.look, 5, "the next one's round")
