"""Server-sent events: headers, ids, resumption, the end, and the beat of an idle stream."""

from tests.gateway.events import completed, failed, progressed, queued, run_job, started
from tests.gateway.listeners import SseListener
from tests.gateway.support import Served, http, served
from tests.support.waiting import wait_until

EVENTS = "/api/v1/jobs/j/events"


async def test_a_stream_says_what_it_is_and_numbers_its_events(house: Served) -> None:
    await house.journal.append(queued("j"))
    async with SseListener.to(house.url, EVENTS) as stream:
        headers = stream.response.headers
        assert stream.response.status_code == 200
        assert headers["content-type"].startswith("text/event-stream")
        assert headers["cache-control"] == "no-store"
        assert headers["x-accel-buffering"] == "no"
        appended = await house.journal.append(started("j"))
        await stream.until_seq(2)
        epoch = appended.position.epoch
        assert [name for name, _ in stream.told] == ["job-snapshot", "job-queued", "job-queue-to-start"]
        assert stream.ids == [f"{epoch}-1", f"{epoch}-1", f"{epoch}-2"]
        assert stream.comments[0] == ": connected"


async def test_a_reader_that_comes_back_with_its_last_id_is_sent_the_rest(house: Served) -> None:
    appended = await run_job(house.journal, "j")
    last = str(appended[2].position)
    for path, headers in ((EVENTS, {"Last-Event-ID": last}), (f"{EVENTS}?lastEventId={last}", None)):
        async with SseListener.to(house.url, path, headers) as stream:
            await stream.until_seq(6)
            assert stream.seqs == [4, 5, 6]
            assert stream.named("job-snapshot") == []


async def test_bytes_that_are_no_event_leave_a_reader_in_step_and_the_feed_alone(house: Served) -> None:
    await run_job(house.journal, "j", steps=2, finish=False)
    async with SseListener.to(house.url, EVENTS) as reader:
        await reader.until_seq(4)
        # In step with the channel from its next event on.
        await house.journal.append(progressed("j", 50))
        await reader.until_seq(5)
        losses = house.gateway.feed.losses
        await house.journal._client.publish("jobcast:{j}", b"rubbish")
        await house.journal.append(completed("j"))
        await reader.until_seq(6)
        assert house.gateway.feed.losses == losses


async def test_an_id_of_another_life_is_answered_by_a_snapshot(house: Served) -> None:
    await run_job(house.journal, "j", finish=False)
    async with SseListener.to(house.url, EVENTS, {"Last-Event-ID": "elsewhere-3"}) as stream:
        assert (await stream.until("job-snapshot"))["recovered"] is False
        await house.journal.append(completed("j"))
        await stream.until_seq(6)
        assert stream.seqs == [6]


async def test_a_stream_until_done_ends_with_the_job_however_it_was_joined(house: Served) -> None:
    path = f"{EVENTS}?until=done"
    async with SseListener.to(house.url, path) as stream:
        appended = await run_job(house.journal, "j")
        await stream.until_ended()
        assert stream.applied == [1, 2, 3, 4, 5, 6]
    for last, seqs in (("", [6]), (appended[3].position, [5, 6]), (appended[5].position, []), ("elsewhere-3", [])):
        async with SseListener.to(house.url, path, {"Last-Event-ID": str(last)}) as stream:
            await stream.until_ended()
            assert stream.seqs == seqs
            assert len(stream.named("job-snapshot")) == (1 if last in {"", "elsewhere-3"} else 0)


async def test_a_stream_until_done_goes_on_over_an_attempt_that_is_tried_again(house: Served) -> None:
    async with SseListener.to(house.url, f"{EVENTS}?until=done") as stream:
        for event in (queued("j"), started("j"), failed("j", final=False), started("j", 2), completed("j", 2)):
            await house.journal.append(event)
        await stream.until_ended()
        assert stream.applied == [1, 2, 3, 4, 5]


async def test_an_idle_stream_beats(redis_url: str) -> None:
    async with served(redis_url, heartbeat=0.05) as house, SseListener.to(house.url, EVENTS) as stream:
        await wait_until(lambda: stream.comments.count(": still here") >= 3, 2, "three comments")
        await house.journal.append(queued("j"))
        await stream.until_seq(1)


async def test_a_queues_stream_tells_of_all_its_jobs(house: Served) -> None:
    await run_job(house.journal, "finished")
    await run_job(house.journal, "running", finish=False)
    async with SseListener.to(house.url, "/api/v1/queues/demo/events") as stream:
        assert (await stream.until("job-snapshot"))["jobId"] == "running"
        await run_job(house.journal, "new")
        await house.journal.append(progressed("running", 99))
        await house.journal.append(completed("running"))
        await wait_until(lambda: len(stream.named("job-completed")) == 2, 3, "both ends")
        assert [p["seq"] for _, p in stream.told if p.get("jobId") == "new"] == [1, 2, 3, 4, 5, 6]
        assert {p["jobId"] for _, p in stream.told if "jobId" in p} == {"new", "running"}


async def test_a_reader_that_goes_is_forgotten(house: Served) -> None:
    async with SseListener.to(house.url, EVENTS) as stream:
        await stream.until("job-snapshot")
        assert len(house.gateway.clients) == 1
    await wait_until(lambda: len(house.gateway.clients) == 0, 2, "the reader to be forgotten")


async def test_what_cannot_be_streamed_is_refused_with_a_sentence(house: Served) -> None:
    async with http(house.url) as client:
        for path, headers, code in (
            ("/api/v1/jobs/a%20b/events", {}, "bad-job-id"),
            ("/api/v1/queues/a:b/events", {}, "bad-queue-name"),
            (EVENTS, {"Last-Event-ID": "../7"}, "bad-request"),
            (f"{EVENTS}?until=later", {}, "bad-request"),
        ):
            answer = await client.get(path, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert len(house.gateway.clients) == 0


async def test_the_head_of_a_stream_may_be_asked_for_alone(house: Served) -> None:
    async with http(house.url) as client:
        for path in (EVENTS, "/api/v1/queues/demo/events"):
            answer = await client.head(path)
            assert (answer.status_code, answer.content) == (200, b"")
            assert answer.headers["content-type"].startswith("text/event-stream")
    assert len(house.gateway.clients) == 0
