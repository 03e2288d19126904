"""What somebody wrote into a job's record is no record; nobody else is kept from being told."""

import asyncio

import pytest
from redis.asyncio import Redis

from jobcast.shared.keys import Keys
from tests.gateway.events import queued, run_job, started
from tests.gateway.listeners import SseListener, WebSocketListener
from tests.gateway.support import Core, Served, http

FIELDS = {
    "seq": b"abc",
    "attempt": b"abc",
    "at": b"",
    "state": b"\xff",
    "epoch": b"../",
    "event:job-queue-to-start": b"\xff\xfe",
    "\udcff": b"1",
}
KEYS = Keys()


async def spoil(redis: Redis, what: str) -> None:
    """One field of the record is not what it should be, or the record is something else altogether."""
    if what == "list":
        await redis.delete(KEYS.state("bad"))
        await redis.lpush(KEYS.state("bad"), "x")
    elif what == "history":
        await redis.delete(KEYS.history("bad"))
        await redis.lpush(KEYS.history("bad"), "x")
    elif what == "entry":
        await redis.xadd(KEYS.history("bad"), {"a": "b"})
    else:
        await redis.hset(KEYS.state("bad"), what.encode(errors="surrogateescape"), FIELDS[what])


@pytest.mark.parametrize("what", [*FIELDS, "list", "history", "entry"])
async def test_who_asks_for_it_is_answered_and_so_is_everybody_else(house: Served, parts: Core, what: str) -> None:
    for job_id in ("bad", "good"):
        await house.journal.append(queued(job_id))
        await house.journal.append(started(job_id))
    await spoil(parts.redis, what)
    async with WebSocketListener.to(house.url) as client:
        for payload in ({"jobId": "bad"}, {"jobId": "bad", "since": {"epoch": "k3v9", "seq": 1}}, {"jobId": "good"}):
            assert (await client.call("subscribe-to-job", payload))["ok"]
        answer = await client.call("subscribe-to-queue", {"queueName": "demo"})
        assert "good" in [job["jobId"] for job in answer["snapshot"]["jobs"]]
        since = {"queueName": "demo", "since": {"epoch": answer["snapshot"]["epoch"], "seq": 0}}
        assert (await client.call("subscribe-to-queue", since))["ok"]
        await run_job(house.journal, "next")
        await client.until("job-completed")
    async with http(house.url) as asking:
        listed = await asking.get("/api/v1/jobs?queue=demo")
        assert "good" in [job["id"] for job in listed.json()["jobs"]]
        for path in ("", "/progress", "/history"):
            assert (await asking.get(f"/api/v1/jobs/bad{path}")).status_code in {200, 404}
    async with SseListener.to(house.url, "/api/v1/jobs/bad/events") as reader:
        await reader.until("job-snapshot")


async def test_a_neighbour_read_in_the_same_batch_is_answered_and_what_is_none_is_counted(parts: Core) -> None:
    for job_id in ("bad", "good", "other"):
        await parts.journal.append(queued(job_id))
    await spoil(parts.redis, "seq")
    first = asyncio.create_task(parts.hub.read("other"))
    await asyncio.sleep(0)
    _, bad, good = await asyncio.gather(first, parts.hub.read("bad"), parts.hub.read("good"))
    assert (bad.position, bad.garbled) == (None, True)
    assert good.position is not None
    assert parts.count("jobcast_quarantined_total") == 1
