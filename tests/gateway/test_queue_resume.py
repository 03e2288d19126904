"""Who was told of a queue up to a position goes on from there, through every door: nothing missed, nothing twice."""

import asyncio
import json
import time
from typing import Any

from tests.gateway.events import completed, logged, progressed, queued, run_job, started
from tests.gateway.listeners import Listener, SocketIoListener, SseListener, WebSocketListener
from tests.gateway.support import Core, Served, http
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

EVENTS = "/api/v1/queues/demo/events"


def told_of(listener: Listener, job_id: str) -> list[tuple[str, int]]:
    return [(name, payload["seq"]) for name, payload in listener.told if payload.get("jobId") == job_id]


def place(listener: Listener) -> dict[str, Any]:
    """The last position in the queue that was told."""
    found = [
        payload if name == "queue-position" else payload["queuePosition"]
        for name, payload in listener.told
        if name == "queue-position" or "queuePosition" in payload
    ]
    return {"epoch": found[-1]["epoch"], "seq": found[-1]["seq"]}


async def happen(house: Served) -> None:
    """What happens while nobody is connected: a known job ends, another comes and goes, a third begins."""
    await house.journal.append(logged("known", "unheard"))
    await house.journal.append(completed("known"))
    await run_job(house.journal, "brief", steps=1)
    await house.journal.append(queued("fresh"))


MISSED = {
    "known": [("job-log", 3), ("job-completed", 4)],
    "brief": [("job-queued", 1), ("job-queue-to-start", 2), ("job-progress", 3), ("job-completed", 4)],
    "fresh": [("job-queued", 1)],
    "over-before": [],
}


async def begin(house: Served) -> None:
    await run_job(house.journal, "over-before", steps=0)
    await run_job(house.journal, "known", steps=0, finish=False)


async def test_an_sse_stream_of_a_queue_goes_on_from_its_last_event_id(house: Served) -> None:
    await begin(house)
    async with SseListener.to(house.url, EVENTS) as reader:
        await reader.until("queue-position")
        await house.journal.append(progressed("other", 1))
        await reader.until("job-progress")
    last = reader.ids[-1]
    assert last is not None
    assert last == "{epoch}-{seq}".format(**reader.told[-1][1]["queuePosition"])
    await happen(house)
    async with SseListener.to(house.url, EVENTS, {"Last-Event-ID": last}) as again:
        await again.until("queue-position")
        assert {job: told_of(again, job) for job in MISSED} == MISSED
        assert told_of(again, "other") == []
        await house.journal.append(started("fresh"))
        await wait_until(lambda: len(told_of(again, "fresh")) == 2, 5, "what happens now")
    async with SseListener.to(house.url, f"{EVENTS}?lastEventId={again.ids[-1]}") as third:
        await house.journal.append(completed("fresh"))
        await third.until("job-completed")
        assert [name for name, _ in third.told] == ["job-completed"]


async def test_a_stream_cut_off_while_it_catches_up_begins_there_again(house: Served) -> None:
    await begin(house)
    async with SseListener.to(house.url, EVENTS) as reader:
        await reader.until("queue-position")
    last = reader.ids[-1]
    await happen(house)
    async with SseListener.to(house.url, EVENTS, {"Last-Event-ID": str(last)}) as again:
        await again.until("queue-position")
    assert set(again.ids[:-1]) == {last}
    assert again.ids[-1] != last


async def test_both_sockets_go_on_with_since(house: Served) -> None:
    await begin(house)
    async with WebSocketListener.to(house.url) as plain, SocketIoListener.to(house.url) as socket:
        for listener in (plain, socket):
            answer = await listener.call("subscribe-to-queue", {"queueName": "demo"})
            assert answer["recovered"] is False
            await listener.until("queue-position")
            assert place(listener) == {name: answer["snapshot"][name] for name in ("epoch", "seq")}
    await happen(house)
    for kind in (WebSocketListener, SocketIoListener):
        async with kind.to(house.url) as again:
            since = {"queueName": "demo", "since": place(listener)}
            answer = await again.call("subscribe-to-queue", since)
            assert answer["recovered"] is True
            assert [job["jobId"] for job in answer["snapshot"]["jobs"]] == ["fresh"]
            await again.until("queue-position")
            assert {job: told_of(again, job) for job in MISSED} == MISSED
            assert place(again) == {name: answer["snapshot"][name] for name in ("epoch", "seq")}


async def test_a_position_of_a_record_that_is_gone_begins_anew(house: Served, redis_server: RedisServer) -> None:
    await begin(house)
    async with WebSocketListener.to(house.url) as listener:
        await listener.call("subscribe-to-queue", {"queueName": "demo"})
        await listener.until("queue-position")
    redis_server.flush()
    await run_job(house.journal, "new", steps=0)
    async with WebSocketListener.to(house.url) as again:
        answer = await again.call("subscribe-to-queue", {"queueName": "demo", "since": place(listener)})
        assert answer["recovered"] is False
        await again.until("queue-position")
        names = [name for name, _ in again.told]
        # All that is in the new record happened since; the client forgets what it knew first.
        assert names[names.index("queue-reset") :][:4] == [
            "queue-reset",
            "job-snapshot",
            "job-completed",
            "queue-position",
        ]


async def test_a_position_that_is_none_is_refused(house: Served) -> None:
    async with http(house.url) as client:
        refused = await client.get(EVENTS, headers={"Last-Event-ID": "no position"})
        assert (refused.status_code, refused.json()["code"]) == (400, "bad-request")
    async with WebSocketListener.to(house.url) as listener:
        for since in ("k3v9-1", {"epoch": "k3v9"}, {"seq": 1}, 5):
            answer = await listener.call("subscribe-to-queue", {"queueName": "demo", "since": since})
            assert (answer["ok"], answer["code"]) == (False, "bad-request")


async def test_an_emptied_redis_is_told_to_who_watches_a_queue(house: Served, redis_server: RedisServer) -> None:
    await begin(house)
    async with WebSocketListener.to(house.url) as listener:
        await listener.call("subscribe-to-queue", {"queueName": "demo"})
        await listener.until("queue-position")
        with redis_server.client() as redis:
            redis.flushall()
            redis.client_kill_filter(_type="pubsub")
        emptied = time.monotonic()
        await wait_until(lambda: len(listener.named("job-snapshot")) == 2, 5, "the reset")
        assert time.monotonic() - emptied < 2
        assert listener.named("job-snapshot")[1]["state"] == "unknown"
        names = [name for name, _ in listener.told]
        assert names.index("queue-reset") < len(names) - 1 - names[::-1].index("job-snapshot")
        await run_job(house.journal, "known")
        await listener.until("job-completed")
        assert [seq for _, seq in told_of(listener, "known")][-6:] == [1, 2, 3, 4, 5, 6]


async def test_a_slow_reader_of_a_queue_is_told_every_state_and_the_latest_progress(parts: Core) -> None:
    client = parts.client()
    await client.watch_queue("demo")
    while client.outlet.offer(b'["padding",{}]\n' + b" " * 10_000):
        pass
    for number in range(30):
        await run_job(parts.journal, f"j{number}", steps=20)
    await wait_until(lambda: parts.count("jobcast_lagged_total") >= 1, 5, "the lag")
    told: dict[str, list[int]] = {}
    names: list[str] = []
    skipped = 0
    while names.count("job-completed") < 30:
        async with asyncio.timeout(5):
            messages = await client.next_messages()
        for name, payload in map(_decode, filter(bytes.strip, messages)):
            names.append(name)
            if "jobId" in payload:
                told.setdefault(payload["jobId"], []).append(payload["seq"])
                skipped += payload.get("skipped", 0)
    assert all(seqs == sorted(set(seqs)) and seqs[-1] == 23 for seqs in told.values())
    assert names.count("job-queued") == names.count("job-queue-to-start") == 30
    assert skipped + sum(map(len, told.values())) == 30 * 23
    assert skipped > 0
    client.close("gone")


def _decode(message: bytes) -> tuple[str, dict[str, Any]]:
    name, payload = json.loads(message)
    return name, payload
