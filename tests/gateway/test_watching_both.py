"""A client that watches a queue and some of its jobs besides; and who may take whose place on a channel."""

import asyncio
from collections.abc import AsyncIterator

from tests.gateway.events import completed, progressed, queued, run_job, started
from tests.gateway.listeners import SocketIoListener, SseListener, WebSocketListener
from tests.gateway.support import Core, Served, http
from tests.support.waiting import wait_until


async def test_a_job_watched_with_its_queue_is_told_once(house: Served) -> None:
    async with WebSocketListener.to(house.url) as client:
        await client.call("subscribe-to-job", {"jobId": "both"})
        await client.call("subscribe-to-queue", {"queueName": "demo"})
        await run_job(house.journal, "both")
        await run_job(house.journal, "other")
        await wait_until(lambda: len(client.named("job-completed")) == 2, 5, "both ends")
        assert [payload["seq"] for _, payload in client.told if payload.get("jobId") == "both" and "seq" in payload][
            1:
        ] == [1, 2, 3, 4, 5, 6]


async def test_the_queue_goes_on_with_a_job_that_is_no_longer_watched_by_itself(house: Served) -> None:
    async with WebSocketListener.to(house.url) as client:
        await client.call("subscribe-to-queue", {"queueName": "demo"})
        await house.journal.append(queued("handed"))
        await client.call("subscribe-to-job", {"jobId": "handed"})
        await house.journal.append(started("handed"))
        await client.until_seq(2)
        await client.call("unsubscribe-from-job", {"jobId": "handed"})
        await house.journal.append(progressed("handed", 50))
        await house.journal.append(completed("handed"))
        await client.until("job-completed")
        assert client.applied[-2:] == [3, 4]
        assert len(client.named("job-completed")) == 1


async def test_a_queue_shows_its_live_jobs_however_many_finished_since(house: Served) -> None:
    await run_job(house.journal, "old-but-live", finish=False)
    for number in range(210):
        await run_job(house.journal, f"short-{number}", steps=0)
    async with WebSocketListener.to(house.url) as client:
        answer = await client.call("subscribe-to-queue", {"queueName": "demo"})
        assert [job["jobId"] for job in answer["snapshot"]["jobs"]] == ["old-but-live"]
    async with http(house.url) as client_http:
        found = (await client_http.get("/api/v1/jobs?queue=demo&status=active&limit=1")).json()
        assert [job["id"] for job in found["jobs"]] == ["old-but-live"]


async def test_calls_are_answered_in_the_order_they_were_made(house: Served) -> None:
    await run_job(house.journal, "live", finish=False)
    async with SocketIoListener.to(house.url) as client:
        for name in ("subscribe-to-queue", "subscribe-to-queue", "unsubscribe-from-queue"):
            await client.send(name, {"queueName": "demo"})
        await client.until("unsubscription-success")
        said = [name for name, _ in client.told if name.endswith("subscription-success")]
        assert said == ["subscription-success", "subscription-success", "unsubscription-success"]
        await asyncio.sleep(0.1)
        assert client.told[-1][0] == "unsubscription-success"


async def test_an_event_on_another_jobs_channel_is_kept_out(parts: Core) -> None:
    await parts.journal.append(queued("mine"))
    client = parts.client()
    await client.watch_job("victim")
    await client.next_messages()
    wire = (await parts.journal.history("mine"))[0].wire
    await parts.redis.publish(parts.keys.channel("victim"), wire)
    await wait_until(lambda: parts.count("jobcast_quarantined_total") == 1, 5, "the quarantine")
    assert len(client.outlet.outbox) == 0
    client.close("gone")


async def test_a_poll_with_too_large_a_body_is_refused_at_once(house: Served) -> None:
    poll = "/socket.io/?EIO=4&transport=polling"
    async with http(house.url) as client:

        async def unannounced() -> AsyncIterator[bytes]:
            yield b"40"

        for body in (unannounced(), "4" + "x" * 70_000):
            sid = (await client.get(poll)).text.partition('"sid":"')[2].partition('"')[0]
            refused = await client.post(f"{poll}&sid={sid}", content=body)
            assert (refused.status_code, refused.json()["code"]) == (413, "payload-too-large")
            assert (await client.get(f"{poll}&sid={sid}")).status_code == 400


async def test_a_queues_stream_refuses_an_end_it_does_not_have(house: Served) -> None:
    async with http(house.url) as client:
        refused = await client.get("/api/v1/queues/demo/events?until=done")
        assert (refused.status_code, refused.json()["code"]) == (400, "bad-request")


async def test_every_file_of_the_page_is_served_under_its_policy(house: Served) -> None:
    async with http(house.url) as client:
        for path in ("/", "/dashboard/index.html", "/dashboard/main.js"):
            answer = await client.get(path)
            assert answer.status_code == 200
            assert "script-src 'self'" in answer.headers["content-security-policy"]
            assert answer.headers["x-content-type-options"] == "nosniff"


async def test_an_sse_reader_of_a_queue_hears_of_live_jobs_first(house: Served) -> None:
    await run_job(house.journal, "live", finish=False)
    async with SseListener.to(house.url, "/api/v1/queues/demo/events") as reader:
        snapshot = await reader.until("job-snapshot")
        assert (snapshot["jobId"], snapshot["state"]) == ("live", "active")
