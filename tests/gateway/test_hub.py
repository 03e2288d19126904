"""Who follows which channel: one SUBSCRIBE for all watchers of a job, one watcher's fault its own."""

import asyncio
import json
import random

import pytest
from structlog.testing import capture_logs

from jobcast.gateway.allowance import Allowance
from jobcast.gateway.client import Client
from jobcast.gateway.outlet import Outlet
from jobcast.gateway.wire import Message
from jobcast.shared.errors import Unavailable
from jobcast.shared.position import Position
from tests.gateway.events import completed, logged, progressed, queued, run_job, started
from tests.gateway.support import Core, Plain, core
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until


class Notes:
    """A watcher that keeps what it gets, or fails on it."""

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken
        self.seqs: list[int] = []
        self.suspected = 0

    def receive(self, message: Message) -> None:
        if self.broken:
            raise RuntimeError("a watcher that fails")
        assert message.position is not None
        self.seqs.append(message.position.seq)

    def suspect(self) -> None:
        self.suspected += 1

    def verify(self, position: Position) -> bool:
        return position.seq in self.seqs

    async def reaches(self, seq: int) -> None:
        await wait_until(lambda: self.seqs[-1:] == [seq], 2, f"event {seq}")


def subscribers(server: RedisServer, channel: str) -> int:
    with server.client() as redis:
        return int(redis.pubsub_numsub(channel)[0][1])


async def test_the_first_watcher_subscribes_and_the_last_leaves_after_the_linger(
    redis_server: RedisServer, parts: Core
) -> None:
    channel, (a, b) = parts.keys.channel("j"), (Notes(), Notes())
    await parts.hub.join_job("j", a)
    assert subscribers(redis_server, channel) == 1
    await parts.hub.join_job("j", b)
    assert subscribers(redis_server, channel) == 1
    parts.hub.leave_job("j", a)
    await asyncio.sleep(0.2)
    assert subscribers(redis_server, channel) == 1
    parts.hub.leave_job("j", b)
    assert subscribers(redis_server, channel) == 1
    await wait_until(lambda: subscribers(redis_server, channel) == 0, 2, "the UNSUBSCRIBE")
    assert len(parts.hub) == 0


async def test_who_comes_back_within_the_linger_finds_the_channel_still_followed(
    redis_server: RedisServer, parts: Core
) -> None:
    channel, notes = parts.keys.channel("j"), Notes()
    with redis_server.client() as redis:
        before = redis.info("commandstats").get("cmdstat_subscribe", {"calls": 0})["calls"]
    for _ in range(3):
        await parts.hub.join_job("j", notes)
        parts.hub.leave_job("j", notes)
        await asyncio.sleep(0.05)
    await parts.hub.join_job("j", notes)
    await asyncio.sleep(0.2)
    assert subscribers(redis_server, channel) == 1
    await parts.journal.append(queued("j"))
    await wait_until(lambda: notes.seqs == [1], 2, "the event")
    with redis_server.client() as redis:
        assert redis.info("commandstats")["cmdstat_subscribe"]["calls"] == before + 1
        assert redis.pubsub_numpat() == 0


async def test_a_channel_is_confirmed_before_the_record_is_read(redis_server: RedisServer, parts: Core) -> None:
    channel, notes = parts.keys.channel("j"), Notes()
    for number in range(1, 51):
        await parts.hub.join_job("j", notes)
        assert subscribers(redis_server, channel) == 1
        await parts.journal.append(queued("j") if number == 1 else queued("j", number))
        await notes.reaches(number)
        parts.hub.leave_job("j", notes)
        if number % 10 == 0:
            await wait_until(lambda: len(parts.hub) == 0, 2, "the end of the linger")


async def test_a_watcher_that_fails_is_counted_and_costs_the_others_nothing(parts: Core) -> None:
    watchers = [Notes(broken=number == 500) for number in range(1000)]
    for watcher in watchers:
        await parts.hub.join_job("j", watcher)
    with capture_logs() as logs:
        await run_job(parts.journal, "j")
        await wait_until(lambda: watchers[-1].seqs[-1:] == [6], 5, "the last event at the last watcher")
    assert all(watcher.seqs == [1, 2, 3, 4, 5, 6] for watcher in watchers if not watcher.broken)
    assert parts.count("jobcast_sink_errors_total") == 6
    assert {entry["event"] for entry in logs} == {"a watcher failed to take an event"}


class Writes(Outlet):
    """Notes each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.faults = 0

    def write(self, entry: bytes) -> None:
        if self.faults:
            self.faults -= 1
            raise RuntimeError("a fault of the test's")
        self.writes.append(entry)


async def test_an_event_that_a_connection_failed_to_take_is_read_again_for_it(parts: Core) -> None:
    outlet, allowance = Writes(), Allowance(1e6, 0)
    client = Client("test", parts.hub, outlet, Plain(), most=10, allowance=allowance, on_close=lambda *_: None)
    await parts.journal.append(queued("j"))
    await client.watch_job("j")
    outlet.writes.clear()
    outlet.faults = 1
    with capture_logs():
        # The first one finds it on its own still, not in step with others.
        await parts.journal.append(started("j"))
        # Both in one read would be one write, which is another case.
        await wait_until(lambda: not outlet.faults, 2, "the fault")
        await parts.journal.append(progressed("j", 50))
        await wait_until(lambda: any(b'"seq":3,' in write for write in outlet.writes), 2, "the last event")
    assert parts.count("jobcast_sink_errors_total") == 1
    told = [json.loads(line)[1]["seq"] for write in outlet.writes for line in write.splitlines()]
    assert told == [2, 3]
    client.close("gone")


async def test_what_one_read_of_redis_holds_for_a_client_is_one_write(parts: Core) -> None:
    outlet = Writes()
    allowance = Allowance(1e6, 0)
    client = Client("test", parts.hub, outlet, Plain(), most=10, allowance=allowance, on_close=lambda *_: None)
    for job_id in ("a", "b"):
        await client.watch_job(job_id)
    outlet.writes.clear()
    wires = {
        job_id: [b'["job-progress",{"seq":%d,"epoch":"e","jobId":"%b"}]' % (seq, job_id.encode()) for seq in (1, 2, 3)]
        for job_id in ("a", "b")
    }
    channels = {job_id: parts.keys.channel(job_id).encode() for job_id in wires}
    parts.hub.deliver({channels[job_id]: wires[job_id][:2] for job_id in wires})
    parts.hub.deliver({channels[job_id]: wires[job_id][2:] for job_id in wires})
    first, second = [write.splitlines() for write in outlet.writes]
    assert first == wires["a"][:2] + wires["b"][:2]
    assert second == wires["a"][2:] + wires["b"][2:]
    client.close("gone")


async def test_bytes_that_are_no_event_are_counted_and_the_next_event_is_delivered(
    redis_server: RedisServer, parts: Core
) -> None:
    channel, notes = parts.keys.channel("j"), Notes()
    await parts.hub.join_job("j", notes)
    rubbish = [b"", b"\xff\xfe", b"null", b'["job-progress",{}]', b"[" * 100_000, b"x" * 10**6, b'["job-progress",{"se']
    with redis_server.client() as redis, capture_logs() as logs:
        for each in rubbish:
            redis.publish(channel, each)
        await parts.journal.append(queued("j"))
        await wait_until(lambda: notes.seqs == [1], 2, "the next event")
    assert parts.count("jobcast_quarantined_total") == len(rubbish)
    assert len(logs) == len(rubbish)
    assert "exception" not in str(logs)


async def test_joining_while_the_feed_is_away_is_unavailable_and_leaves_nothing(redis_url: str) -> None:
    async with core(redis_url, running=False) as parts:
        joins = [parts.hub.join_job("j", Notes()) for _ in range(3)]
        answers = await asyncio.gather(*joins, return_exceptions=True)
        assert [type(answer) for answer in answers] == [Unavailable] * 3
        assert len(parts.hub) == 0


async def test_a_watcher_that_leaves_before_the_confirmation_is_told_unavailable(redis_url: str) -> None:
    async with core(redis_url, running=False, linger=0.05) as parts:
        notes = Notes()
        joining = asyncio.create_task(parts.hub.join_job("j", notes))
        await asyncio.sleep(0)
        parts.hub.leave_job("j", notes)
        with pytest.raises(Unavailable):
            await joining
        assert len(parts.hub) == 0


async def test_joins_and_leaves_in_any_order_end_with_what_is_still_watched(
    redis_server: RedisServer, redis_url: str
) -> None:
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    chance = random.Random(seed)
    async with core(redis_url, linger=0.002) as parts:
        channels = [parts.keys.channel(f"j{number}") for number in range(5)]

        async def come_and_go(notes: Notes) -> None:
            for _ in range(40):
                job_id = f"j{chance.randrange(5)}"
                joining = asyncio.create_task(parts.hub.join_job(job_id, notes))
                await asyncio.sleep(chance.choice([0, 0, 0.001, 0.004]))
                if chance.random() < 0.2:
                    joining.cancel()
                await asyncio.gather(joining, return_exceptions=True)
                parts.hub.leave_job(job_id, notes)

        staying = Notes()
        await parts.hub.join_job("j0", staying)
        await asyncio.gather(*(come_and_go(Notes()) for _ in range(20)))
        await wait_until(lambda: len(parts.hub) == 1, 2, "the lingers to end")
        await wait_until(lambda: [subscribers(redis_server, c) for c in channels] == [1, 0, 0, 0, 0], 2, "NUMSUB")
        await parts.journal.append(queued("j0"))
        await wait_until(lambda: staying.seqs == [1], 2, "the event of who stayed")


async def test_following_again_at_once_misses_nothing_published_after_the_answer(redis_url: str) -> None:
    async with core(redis_url) as parts:
        notes = Notes()
        await parts.journal.append(queued("j"))
        await parts.journal.append(started("j"))
        for number in range(3, 83):
            leaving = asyncio.create_task(parts.hub.join_job("j", Notes()))
            await asyncio.sleep(0)
            leaving.cancel()
            if number % 2:
                await asyncio.gather(leaving, return_exceptions=True)
            await parts.hub.join_job("j", notes)
            await parts.journal.append(progressed("j", 1) if number % 3 else logged("j", "x"))
            await notes.reaches(number)
            parts.hub.leave_job("j", notes)
        await parts.journal.append(completed("j"))
