"""How many may come, and how much each may watch."""

import asyncio

import pytest
from socketio.exceptions import ConnectionError as SocketIoRefused
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from jobcast.shared.errors import TooManySubscriptions, Unavailable
from tests.gateway.engine.raw import Wire
from tests.gateway.engine.support import Polling
from tests.gateway.events import run_job
from tests.gateway.listeners import SocketIoListener, SseListener, WebSocketListener, tidy_session
from tests.gateway.support import Core, Served, http, port_of, served
from tests.support.waiting import wait_until


async def test_one_client_too_many_is_refused_by_every_door_and_let_in_once_there_is_room(redis_url: str) -> None:
    async with served(redis_url, max_connections=2) as house:
        async with WebSocketListener.to(house.url) as first, SseListener.to(house.url, "/api/v1/jobs/j/events"):
            await first.until("connected")
            async with http(house.url) as client:
                answer = await client.get("/api/v1/jobs/j/events")
                assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
                assert (await client.get("/healthz")).status_code == 200
            async with connect(f"ws{house.url.removeprefix('http')}/ws", proxy=None) as refused:
                with pytest.raises(ConnectionClosed):
                    await refused.recv()
                assert refused.close_code == 1013
            async with tidy_session() as session:
                listener = SocketIoListener("/", session)
                listener.client.on("connect_error", lambda data: listener.told.append(("refused", data)))
                with pytest.raises(SocketIoRefused):
                    await listener.client.connect(house.url, transports=["websocket"])
            assert (await first.call("subscribe-to-job", "j"))["ok"]
        await wait_until(lambda: len(house.gateway.clients) == 0, 2, "both to be forgotten")
        async with WebSocketListener.to(house.url) as again:
            await again.until("connected")


async def test_a_post_that_waits_for_its_calls_to_be_answered_is_still_the_only_one(redis_url: str) -> None:
    # Ten calls a second: thirty are answered at once, the others a tenth of a second each.
    async with served(redis_url, max_calls=10) as house, Polling.to(port_of(house), "/socket.io/") as session:
        assert (await session.post("40")).status_code == 200
        calls = "\x1e".join(['42["get-subscriptions"]'] * 250)
        first = asyncio.create_task(session.post(calls))
        await asyncio.sleep(0.2)
        assert not first.done()
        # Answered at once, each would leave its calls in the memory, however many came.
        assert (await session.post(calls)).status_code == 400
        assert (await first).status_code == 400
        assert (await session.get()).status_code == 400
        await wait_until(lambda: len(house.gateway.clients) == 0, 2, "the client to be forgotten")


async def test_who_breaks_the_protocol_is_counted_by_how(redis_url: str) -> None:
    async with served(redis_url, connect_deadline=0.3, ping_interval=0.5, ping_timeout=0.2) as house:
        for packets, reason in (
            (("4x",), "bad-packet"),
            (("40", "4999"), "bad-packet"),
            ((), "connect-deadline"),
            (("40",), "ping-timeout"),
        ):
            before = turned_away(house, reason)
            async with Wire.to(port_of(house)) as wire:
                await wire.upgrade("/socket.io/?EIO=4&transport=websocket")
                await wire.send_packets(*packets)
                await wait_until(lambda b=before, r=reason: turned_away(house, r) == b + 1, 3, reason)  # type: ignore[misc]
        async with Wire.to(port_of(house)) as wire:
            await wire.upgrade("/ws")
            await wire.send(b"\x83\x80\0\0\0\0")
            await wait_until(lambda: turned_away(house, "bad-frame") == 1, 3, "the frame to be counted")


def turned_away(house: Served, reason: str) -> float:
    found = house.gateway.metrics.registry.get_sample_value("jobcast_connections_closed_total", {"reason": reason})
    return found or 0.0


async def test_one_subscription_too_many_is_refused_and_those_before_it_go_on(redis_url: str) -> None:
    async with (
        served(redis_url, max_subscriptions=3) as house,
        WebSocketListener.to(house.url) as plain,
        SocketIoListener.to(house.url) as socket,
    ):
        for listener in (plain, socket):
            assert (await listener.call("subscribe-to-job", "j"))["ok"]
            assert (await listener.call("subscribe-to-job", "k"))["ok"]
            assert (await listener.call("subscribe-to-queue", {"queueName": "other"}))["ok"]
            for name, payload in (("subscribe-to-job", {"jobId": "l"}), ("subscribe-to-queue", {"queueName": "demo"})):
                answer = await listener.call(name, payload)
                assert (answer["code"], answer["retryable"]) == ("too-many-subscriptions", False)
            assert (await listener.until("subscription-error"))["code"] == "too-many-subscriptions"
            # What is watched already may be watched anew.
            assert (await listener.call("subscribe-to-job", "j"))["ok"]
            assert (await listener.call("unsubscribe-from-job", "k"))["ok"]
            assert (await listener.call("subscribe-to-job", "l"))["ok"]
        await run_job(house.journal, "j")
        for listener in (plain, socket):
            await listener.until("job-completed")


async def test_a_closed_client_watches_nothing_more(parts: Core) -> None:
    client = parts.client()
    client.close("slow")
    with pytest.raises(Unavailable):
        await client.watch_job("j")
    with pytest.raises(Unavailable):
        await client.watch_queue("demo")
    assert len(parts.hub) == 0
    assert parts.count("jobcast_watches") == 0


async def test_a_client_at_its_limit_keeps_what_it_has(parts: Core) -> None:
    client = parts.client(most=2)
    await client.watch_job("a")
    await client.watch_queue("demo")
    with pytest.raises(TooManySubscriptions):
        await client.watch_job("b")
    assert (list(client.jobs), list(client.queues)) == (["a"], ["demo"])
    client.close("gone")
    assert parts.count("jobcast_watches") == 0
