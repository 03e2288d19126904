"""A tail over connections that are refused, lost and taken up again."""

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from jobcast.cli import exits
from jobcast.cli.exits import Rejected, Unreachable
from jobcast.cli.screen import Lines
from jobcast.cli.tail import CURRENT, STALE, backoff, tail
from jobcast.cli.watch import JobsWatch
from jobcast.cli.wire import Message
from jobcast.shared.position import Position

Handler = Callable[["Peer"], Awaitable[None]]


class Recorder(Lines):
    """A screen that remembers."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, int]] = []
        self.notes: list[str] = []

    def show(self, message: Message) -> None:
        self.shown.append((message.event, message.payload["seq"]))

    def note(self, text: str) -> None:
        self.notes.append(text)


class Peer:
    """The gateway's side of one connection, played by the test."""

    def __init__(self, connection: ServerConnection) -> None:
        self.connection = connection

    async def call(self) -> Any:
        return json.loads(await self.connection.recv())

    async def say(self, event: str, **payload: Any) -> None:
        await self.connection.send(json.dumps([event, {"jobId": "1", **payload}]))

    async def event(self, kind: str, seq: int, **more: Any) -> None:
        await self.say(kind, epoch="a", seq=seq, **more)

    async def grant(self, seq: int, state: str = "active", *, recovered: bool = False) -> Any:
        """Answer a subscription as a gateway does: what it brings first, its answer after it."""
        call = await self.call()
        snapshot = {"state": state, "epoch": "a", "seq": seq, "recovered": recovered}
        if not recovered:
            await self.say("job-snapshot", **snapshot)
        await self.say("ack", id=call[2], ok=True, snapshot=snapshot, recovered=recovered)
        return call[1]

    async def refuse(self, code: str, *, retryable: bool) -> None:
        call = await self.call()
        await self.say("ack", id=call[2], ok=False, code=code, message="not so", retryable=retryable)

    async def cut(self) -> None:
        self.connection.transport.abort()


@contextlib.asynccontextmanager
async def gateway(*handlers: Handler) -> AsyncIterator[str]:
    """A gateway that treats each connection as the next handler says."""
    left = list(handlers)

    async def meet(connection: ServerConnection) -> None:
        await left.pop(0)(Peer(connection))
        await connection.wait_closed()

    async with serve(meet, "127.0.0.1", 0, compression=None) as server:
        yield f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
    assert not left


async def test_it_goes_on_from_its_position_after_a_lost_connection() -> None:
    asked: list[Any] = []

    async def first(peer: Peer) -> None:
        asked.append(await peer.grant(2))
        await peer.event("job-progress", 2)
        await peer.event("job-progress", 3)
        await asyncio.sleep(0.1)
        await peer.cut()

    async def second(peer: Peer) -> None:
        asked.append(await peer.call())
        await peer.event("job-progress", 3)
        await peer.event("job-log", 4)
        await peer.event("job-completed", 5)

    screen = Recorder()
    async with gateway(first, second) as url:
        assert await tail(url, JobsWatch(["1"]), screen) == exits.COMPLETED
    assert asked[0] == {"jobId": "1"}
    assert asked[1][1] == {"jobId": "1", "since": {"epoch": "a", "seq": 3}}
    assert screen.shown == [
        ("job-snapshot", 2),
        ("job-progress", 2),
        ("job-progress", 3),
        ("job-log", 4),
        ("job-completed", 5),
    ]
    assert "no connection to" in screen.notes[0]


async def test_a_gateway_without_its_redis_is_asked_again() -> None:
    async def away(peer: Peer) -> None:
        await peer.refuse("unavailable", retryable=True)

    async def back(peer: Peer) -> None:
        await peer.grant(1)
        await peer.event("job-cancelled", 2)

    screen = Recorder()
    async with gateway(away, away, back) as url:
        assert await tail(url, JobsWatch(["1"]), screen) == exits.CANCELLED
    assert screen.notes[1:] == ["connected again"]


async def test_a_refusal_for_good_ends_it() -> None:
    async def no(peer: Peer) -> None:
        await peer.refuse("forbidden", retryable=False)

    async with gateway(no) as url:
        with pytest.raises(Rejected, match="not so"):
            await tail(url, JobsWatch(["1"]), Recorder())


async def test_it_gives_up_when_nobody_answers_for_long() -> None:
    began = asyncio.get_running_loop().time()
    with pytest.raises(Unreachable, match="no gateway at"):
        await tail("http://127.0.0.1:1", JobsWatch(["1"]), Recorder(), patience=0.5)
    assert 0.4 < asyncio.get_running_loop().time() - began < 2


async def test_time_spent_connected_is_not_time_without_a_connection() -> None:
    async def first(peer: Peer) -> None:
        await peer.grant(1)
        await asyncio.sleep(1)
        await peer.cut()

    async def second(peer: Peer) -> None:
        await peer.grant(1, recovered=True)
        await peer.event("job-failed", 2, final=True)

    async with gateway(first, second) as url:
        assert await tail(url, JobsWatch(["1"]), Recorder(), patience=0.7) == exits.FAILED


async def test_a_server_that_is_no_gateway_is_told_at_once() -> None:
    def not_found(connection: ServerConnection, _request: Request) -> Response:
        return connection.respond(404, "no such page")

    async with serve(lambda _: asyncio.sleep(0), "127.0.0.1", 0, process_request=not_found) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        with pytest.raises(Unreachable, match="answered 404"):
            await tail(f"http://127.0.0.1:{port}", JobsWatch(["1"]), Recorder())


@pytest.mark.parametrize(("asked", "least"), [("2", 2.0), ("soon", 0.0), ("9" * 30, 2.9)])
async def test_a_gateway_that_asks_to_be_left_alone_for_a_while_is(asked: str, least: float) -> None:
    attempts: list[float] = []

    def busy(connection: ServerConnection, _request: Request) -> Response | None:
        attempts.append(time.monotonic())
        if len(attempts) > 1:
            return None
        response = connection.respond(503, "come again")
        response.headers["Retry-After"] = asked
        return response

    async def over(connection: ServerConnection) -> None:
        peer = Peer(connection)
        await peer.grant(9, "completed", recovered=True)
        await connection.wait_closed()

    async with serve(over, "127.0.0.1", 0, process_request=busy) as server:
        url = f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        # Three seconds of patience end even the longest wait.
        watch = JobsWatch(["1"], Position("a", 9))
        assert await tail(url, watch, Recorder(), patience=3) == exits.COMPLETED
    assert attempts[1] - attempts[0] >= least


async def test_an_end_known_by_its_snapshot_alone_is_an_end() -> None:
    async def over(peer: Peer) -> None:
        await peer.grant(9, "failed")

    async with gateway(over) as url:
        assert await tail(url, JobsWatch(["1"]), Recorder()) == exits.FAILED


async def test_resuming_behind_the_end_ends_at_once() -> None:
    async def over(peer: Peer) -> None:
        await peer.grant(9, "completed", recovered=True)

    screen = Recorder()
    async with gateway(over) as url:
        async with asyncio.timeout(1.5):
            assert await tail(url, JobsWatch(["1"], Position("a", 9)), screen) == exits.COMPLETED
    assert screen.shown == []


async def test_a_message_that_cannot_be_read_is_asked_for_again() -> None:
    async def garbled(peer: Peer) -> None:
        await peer.grant(1)
        await peer.event("job-progress", 1)
        await peer.connection.send('["job-progress", {"seq": 2,')
        await peer.event("job-progress", 3)
        call = await peer.call()
        assert call[1] == {"jobId": "1", "since": {"epoch": "a", "seq": 1}}
        await peer.event("job-progress", 2)
        await peer.event("job-completed", 3)

    screen = Recorder()
    async with gateway(garbled) as url:
        assert await tail(url, JobsWatch(["1"]), screen) == exits.COMPLETED
    assert [seq for _, seq in screen.shown] == [1, 1, 2, 3]
    assert "could not be read" in screen.notes[0]


async def test_a_gateway_that_has_lost_redis_is_told_and_so_is_its_recovery() -> None:
    screen = Recorder()

    async def handler(peer: Peer) -> None:
        await peer.grant(3)
        for status in ("stale", "current"):
            await peer.connection.send(json.dumps(["feed-status", {"status": status, "timestamp": 1}]))
        await peer.event("job-completed", 4)

    async with gateway(handler) as url:
        assert await tail(url, JobsWatch(["1"]), screen) == exits.COMPLETED
    assert screen.notes == [STALE, CURRENT]


def test_waits_grow_by_chance_and_stay_within_bounds() -> None:
    for chance in (0.0, 0.999):
        waits = backoff(itertools.repeat(chance).__next__)
        drawn = [next(waits) for _ in range(20)]
        assert drawn == sorted(drawn)
        assert drawn[0] == pytest.approx(0.2)
        assert 2.5 <= drawn[-1] <= 5
