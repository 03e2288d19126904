"""A queue and one of its jobs, watched by the same client: what is read for the one is not told by the other too."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from jobcast.gateway.topic import Topic
from jobcast.shared.keys import Keys
from jobcast.shared.position import Position
from tests.gateway.events import completed, logged, progressed, queued, run_job, started
from tests.gateway.listeners import WebSocketListener
from tests.gateway.support import Core, PulledClient, Served
from tests.support.waiting import wait_until

Told = list[tuple[str, dict[str, Any]]]


async def told(client: PulledClient, enough: Callable[[Told], bool] | None = None, timeout: float = 3) -> Told:
    """What the client is told until it is enough, or for so long."""
    found: Told = []
    try:
        async with asyncio.timeout(timeout):
            while enough is None or not enough(found):
                found += [json.loads(each) for each in await client.next_messages() if each.strip()]
    except TimeoutError:
        assert enough is None, f"told {[name for name, _ in found]}"
    return found


def named(name: str) -> Callable[[Told], bool]:
    return lambda found: any(each == name for each, _ in found)


def seqs(found: Told, job_id: str) -> list[int]:
    return [payload["seq"] for name, payload in found if payload.get("jobId") == job_id and name != "job-snapshot"]


def hold(parts: Core, call: str) -> tuple[asyncio.Event, asyncio.Event]:
    """The journal's next answers to this call are made and not handed on: (when one was made, to let them go)."""
    made, go = asyncio.Event(), asyncio.Event()
    real = getattr(parts.journal, call)

    async def held(*arguments: Any, **more: Any) -> Any:
        answer = await real(*arguments, **more)
        made.set()
        await go.wait()
        return answer

    setattr(parts.journal, call, held)
    return made, go


async def test_a_job_left_while_the_queue_reads_it_is_not_told_twice(parts: Core) -> None:
    client = parts.client()
    await parts.journal.append(queued("j"))
    await client.watch_queue("demo")
    await client.watch_job("j")
    await parts.journal.append(started("j"))
    await told(client, named("job-queue-to-start"))
    made, go = hold(parts, "read_each")
    client.queues["demo"].suspect()
    await parts.journal.append(progressed("j", 5))
    await parts.journal.append(completed("j"))
    await asyncio.wait_for(made.wait(), 3)
    first = await told(client, named("job-completed"))
    client.unwatch_job("j")
    go.set()
    assert seqs(first + await told(client, timeout=1), "j") == [3, 4]
    client.close("gone")


async def test_a_job_that_the_queue_has_not_met_is_not_told_twice_either(parts: Core) -> None:
    client = parts.client()
    await parts.journal.append(queued("other"))
    await client.watch_queue("demo")
    await client.watch_job("new")
    await told(client, named("queue-position"))
    made, go = hold(parts, "changes")
    client.queues["demo"].suspect()
    await asyncio.wait_for(made.wait(), 3)
    for event in (queued("new"), started("new"), completed("new")):
        await parts.journal.append(event)
    first = await told(client, named("job-completed"))
    client.unwatch_job("new")
    go.set()
    assert seqs(first + await told(client, timeout=1), "new") == [1, 2, 3]
    client.close("gone")


async def test_what_the_own_watch_owes_is_told_although_a_later_reading_is_under_way(parts: Core) -> None:
    client = parts.client()
    for event in (queued("j"), started("j")):
        await parts.journal.append(event)
    await client.watch_queue("demo")
    await client.watch_job("j")
    await told(client, named("queue-position"))
    job, queue = client.jobs["j"].watch, client.queues["demo"].watch
    made, go = hold(parts, "read_each")
    while client.outlet.offer(b'["padding",{}]\n' + b" " * 10_000):
        pass
    for event in (progressed("j", 5), logged("j", "four"), queued("k"), logged("j", "five")):
        await parts.journal.append(event)
    await wait_until(lambda: job.behind and queue.behind, 3, "both to be behind")
    # As after a reading that Redis did not answer: the job waits behind its queue.
    client._behind.pop(job)

    async def read_until_made() -> bool:
        client.pulled.take()
        return made.is_set()

    await wait_until(read_until_made, 3, "the queue's reading")
    client.unwatch_job("j")
    go.set()
    found = await told(client, timeout=1)
    assert [seq for seq in seqs(found, "j") if seq > 3] == [4, 5]
    client.close("gone")


async def test_a_job_watched_by_itself_is_read_before_all_the_jobs_of_a_queue(parts: Core) -> None:
    client = parts.client()
    await client.watch_queue("demo")
    await client.watch_job("mine")
    await parts.journal.append(queued("mine"))
    await parts.journal.append(started("mine"))
    await told(client, named("job-queue-to-start"))
    made, go = hold(parts, "read_each")
    parts.hub.leave_queue("demo", client.queues["demo"])
    for number in range(40):
        await run_job(parts.journal, f"j{number}", steps=0, finish=False)
    client.queues["demo"].suspect()
    await asyncio.wait_for(made.wait(), 3)
    sink = client.jobs["mine"]
    parts.hub.leave_job("mine", sink)
    await parts.journal.append(completed("mine"))
    sink.suspect()
    go.set()
    # Where that is in the queue it is not told: it no longer hears the queue, whose last event came after it was asked.
    found = await told(client, lambda found: len({payload.get("jobId") for _, payload in found}) == 41)
    names = [(name, payload.get("jobId")) for name, payload in found]
    assert names.index(("job-completed", "mine")) < len(names) - 20
    client.close("gone")


async def test_a_job_whose_id_went_to_another_queue_is_told_as_gone(parts: Core) -> None:
    client = parts.client()
    await parts.journal.append(queued("x"), born=1)
    await parts.journal.append(started("x"))
    await client.watch_queue("demo")
    await told(client, named("queue-position"))
    topic = parts.hub._topics[Keys().queue_channel("demo").encode()]
    _mute(topic)
    await parts.journal.append(completed("x"))
    await parts.journal.append(queued("x", queue="elsewhere"), born=5)
    await asyncio.sleep(0.1)
    client.queues["demo"].suspect()
    found = await told(client, named("queue-position"))
    assert [(name, payload["state"]) for name, payload in found if payload.get("jobId") == "x"] == [
        ("job-snapshot", "unknown")
    ]
    client.close("gone")


def _mute(topic: Topic) -> None:
    """What the feed brings for it is lost from here on."""
    sinks = list(topic._sinks)
    for sink in sinks:
        topic.remove(sink)


async def test_jobs_whose_records_expired_are_not_told_to_who_never_knew_them(parts: Core) -> None:
    for number in range(30):
        await run_job(parts.journal, f"old{number}", steps=0)
        await parts.redis.delete(Keys().state(f"old{number}"), Keys().history(f"old{number}"))
    await parts.journal.append(queued("y"))
    client = parts.client()
    await client.watch_queue("demo", Position("zzzz", 3))
    found = await told(client, named("queue-position"))
    assert {payload["jobId"] for name, payload in found if name == "job-snapshot"} == {"y"}
    client.close("gone")


@pytest.mark.parametrize("what", ["index", "state", "live", "seq"])
async def test_a_garbled_record_of_a_queue_is_an_answer_and_no_end(house: Served, parts: Core, what: str) -> None:
    await run_job(house.journal, "j", steps=0, finish=False)
    names = {"index": Keys().queue_index, "state": Keys().queue_state, "live": Keys().queue_live}
    async with WebSocketListener.to(house.url) as listener:
        await listener.call("subscribe-to-job", {"jobId": "j"})
        if what == "seq":
            await parts.redis.hset(Keys().queue_state("demo"), "seq", "many")
        else:
            await parts.redis.set(names[what]("demo"), "no such thing")
        since = {"epoch": "k3v9", "seq": 0}
        for payload in ({"queueName": "demo"}, {"queueName": "demo", "since": since}):
            answer = await listener.call("subscribe-to-queue", payload)
            assert answer["ok"] or answer["code"] == "unavailable"
        assert (await listener.call("get-subscriptions"))["jobIds"] == ["j"]
