"""A client that watches a queue and some of its jobs besides; and who may take whose place on a channel."""

import asyncio
import json
from collections.abc import AsyncIterator

from tests.gateway.events import completed, logged, progressed, queued, run_job, started
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


class Told:
    """A client that reads when the test says so; what it is told, in order."""

    def __init__(self, parts: Core) -> None:
        self.client = parts.client()
        self.told: list[tuple[str, int]] = []

    def fill(self) -> None:
        """Let it hold so much that it is offered nothing more until it reads."""
        while self.client.outlet.offer(b'["padding",{}]\n' + b" " * 10_000):
            pass

    async def read(self) -> None:
        """Until it is told nothing for a while."""
        while True:
            try:
                async with asyncio.timeout(0.3):
                    messages = await self.client.next_messages()
            except TimeoutError:
                return
            for name, payload in map(json.loads, filter(bytes.strip, messages)):
                if "jobId" in payload and "seq" in payload:
                    self.told.append((name, payload["seq"]))

    @property
    def events(self) -> list[int]:
        """The numbers of the events without those a snapshot told already."""
        applied, found = 0, []
        for name, seq in self.told:
            if name != "job-snapshot" and seq > applied:
                found.append(seq)
            applied = max(applied, seq)
        return found


async def test_what_a_jobs_own_watch_still_owes_is_told_by_the_queues_when_it_is_left(parts: Core) -> None:
    told = Told(parts)
    await told.client.watch_queue("demo")
    await told.client.watch_job("j")
    await parts.journal.append(queued("j"))
    await parts.journal.append(started("j"))
    await told.read()
    told.fill()
    await parts.journal.append(progressed("j", 50))
    await parts.journal.append(completed("j"))
    await asyncio.sleep(0.1)
    told.client.unwatch_job("j")
    await told.read()
    assert told.events == [1, 2, 3, 4]
    assert told.told[-1] == ("job-completed", 4)
    told.client.close("gone")


async def test_what_the_queue_still_owes_of_a_job_is_told_by_its_own_watch_alone(parts: Core) -> None:
    told = Told(parts)
    await told.client.watch_queue("demo")
    await parts.journal.append(queued("j"))
    await parts.journal.append(started("j"))
    await told.read()
    told.fill()
    await parts.journal.append(logged("j", "a"))
    await parts.journal.append(logged("j", "b"))
    await asyncio.sleep(0.1)
    await told.client.watch_job("j")
    await told.read()
    await parts.journal.append(logged("j", "c"))
    await told.read()
    snapshot = told.told.index(("job-snapshot", 4))
    # Behind the snapshot stand the latest state once more, for the classic front ends, and what is new.
    assert told.told[snapshot + 1 :] == [("job-queue-to-start", 2), ("job-log", 5)]
    told.client.unwatch_job("j")
    await parts.journal.append(completed("j"))
    await told.read()
    assert told.told[-1] == ("job-completed", 6)
    told.client.close("gone")


async def test_a_job_left_while_its_own_watch_is_being_read_goes_on_with_the_queue(parts: Core) -> None:
    told = Told(parts)
    await told.client.watch_queue("demo")
    await parts.journal.append(queued("j"))
    await told.read()
    watching = asyncio.create_task(told.client.watch_job("j"))
    await asyncio.sleep(0)
    await parts.journal.append(started("j"))
    told.client.unwatch_job("j")
    await watching
    await parts.journal.append(completed("j"))
    await told.read()
    assert told.events[-1] == 3
    assert [seq for _, seq in told.told] == sorted(seq for _, seq in told.told)
    told.client.close("gone")
