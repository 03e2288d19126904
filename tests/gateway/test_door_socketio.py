"""Socket.IO through python-socketio's own client: both transports, both paths, both namespaces, every call."""

import itertools
import json

import pytest

from tests.gateway.engine.support import Polling, upgraded
from tests.gateway.events import completed, progressed, queued, run_job, started
from tests.gateway.listeners import SocketIoListener, tidy_session
from tests.gateway.support import Served, port_of
from tests.support.waiting import wait_until

WAYS = list(itertools.product(["websocket", "polling"], ["socket.io", "socket.io/jobs"], ["/", "/job-progress"]))
CLASSIC = {"job-progress", "job-completed", "job-failed", "job-queue-to-start"}


@pytest.mark.parametrize(("transport", "path", "namespace"), WAYS)
async def test_a_job_is_told_whole_by_every_way_in(house: Served, transport: str, path: str, namespace: str) -> None:
    way = {"transport": transport, "path": path, "namespace": namespace}
    async with SocketIoListener.to(house.url, **way) as listener:
        connected = await listener.until("connected")
        assert listener.told[0][0] == "connected"
        assert set(connected) == {"message", "clientId", "timestamp"}
        answer = await listener.call("subscribe-to-job", {"jobId": "j"})
        assert (answer["ok"], answer["jobId"], answer["recovered"]) == (True, "j", False)
        assert answer["snapshot"]["state"] == "unknown"
        assert await listener.until("subscription-success") == {
            "type": "job",
            "target": "j",
            "message": "watching job j",
        }
        await run_job(house.journal, "j")
        await listener.until("job-completed")
        assert listener.seqs == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("payload", [{"jobId": "j"}, "j"])
async def test_a_job_may_be_named_by_an_object_or_a_bare_string_with_and_without_an_acknowledgement(
    house: Served, payload: object
) -> None:
    async with SocketIoListener.to(house.url) as listener:
        await listener.send("subscribe-to-job", payload)
        await listener.until("subscription-success")
        assert (await listener.call("get-subscriptions"))["jobIds"] == ["j"]
        await listener.send("unsubscribe-from-job", payload)
        assert (await listener.until("unsubscription-success"))["target"] == "j"
        assert (await listener.call("subscribe-to-job", payload))["ok"]
        assert await listener.call("unsubscribe-from-job", payload) == {"ok": True}


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_a_classic_front_end_is_told_of_a_job_that_had_already_finished(house: Served, transport: str) -> None:
    await run_job(house.journal, "j")
    async with SocketIoListener.to(house.url, transport=transport) as listener:
        await listener.send("subscribe-to-job", {"jobId": "j"})
        await listener.until("job-completed")
        assert [name for name, _ in listener.told if name in CLASSIC] == ["job-completed"]
        names = [name for name, _ in listener.told]
        assert names.index("job-snapshot") < names.index("job-completed")


async def test_every_call_is_acknowledged_as_the_protocol_says(house: Served) -> None:
    for job in ("a", "b"):
        await house.journal.append(queued(job))
        await house.journal.append(started(job))
    await run_job(house.journal, "done")
    async with SocketIoListener.to(house.url, namespace="/job-progress") as listener:
        queue = await listener.call("subscribe-to-queue", {"queueName": "demo"})
        assert queue["ok"]
        assert {job["jobId"] for job in queue["snapshot"]["jobs"]} == {"a", "b"}
        assert queue["snapshot"]["counts"]["active"] == 0
        found = await listener.call("get-subscriptions")
        client_id = (await listener.until("connected"))["clientId"]
        assert found == {"ok": True, "jobIds": [], "queues": ["demo"], "clientId": client_id}
        assert await listener.until("current-subscriptions") == {key: found[key] for key in found if key != "ok"}
        assert await listener.call("cancel-job", {"jobId": "a", "reason": "why not"}) == {
            "ok": True,
            "state": "cancelling",
        }
        assert await house.journal.cancel_requests(["a"]) == ["why not"]
        assert (await listener.call("cancel-job", {"jobId": "nobody"}))["code"] == "unknown-job"
        assert (await listener.call("cancel-job", {"jobId": "done"}))["code"] == "bad-request"
        await house.journal.append(progressed("a", 10))
        await listener.until("job-progress")
        assert await listener.call("unsubscribe-from-queue", {"queueName": "demo"}) == {"ok": True}
        await house.journal.append(completed("b"))
        assert (await listener.call("get-subscriptions"))["queues"] == []
        assert not any(each["jobId"] == "b" for each in listener.named("job-completed"))


async def test_a_resumption_brings_what_was_missed_and_nothing_else(house: Served) -> None:
    appended = await run_job(house.journal, "j", 5)
    epoch, seq = appended[3].position
    async with SocketIoListener.to(house.url) as listener:
        answer = await listener.call("subscribe-to-job", {"jobId": "j", "since": {"epoch": epoch, "seq": seq}})
        assert answer["recovered"] is True
        assert answer["snapshot"]["state"] == "completed"
        await listener.until("job-completed")
        assert listener.seqs == [5, 6, 7, 8]
        assert listener.named("job-snapshot") == []


async def test_two_namespaces_of_one_connection_are_two_clients(house: Served) -> None:
    async with tidy_session() as session:
        listener, other = SocketIoListener("/", session), SocketIoListener("/job-progress", session)
        other.client = listener.client
        other.client.on("*", other._note, namespace="/job-progress")
        await listener.client.connect(house.url, transports=["websocket"], namespaces=["/", "/job-progress"])
        try:
            assert (await listener.until("connected"))["clientId"] != (await other.until("connected"))["clientId"]
            await other.call("subscribe-to-job", "j")
            await run_job(house.journal, "j")
            await other.until("job-completed")
            assert listener.seqs == []
        finally:
            await listener.client.disconnect()
    await wait_until(lambda: len(house.gateway.clients) == 0, 2, "both clients to be forgotten")


async def test_a_client_that_goes_leaves_nothing_behind(house: Served) -> None:
    for transport in ("websocket", "polling"):
        async with SocketIoListener.to(house.url, transport=transport) as listener:
            await listener.call("subscribe-to-job", "j")
            assert len(house.gateway.clients) == 1
        await wait_until(lambda: len(house.gateway.clients) == 0, 2, "the client to be forgotten")


def seqs_of(packets: list[str]) -> list[int]:
    """The numbers of the events among Engine.IO packets; a snapshot's is none."""
    events = [json.loads(packet[2:]) for packet in packets if packet.startswith("42")]
    return [payload["seq"] for name, payload in events if "seq" in payload and name != "job-snapshot"]


async def polled(session: Polling, until: str) -> list[str]:
    """Poll until a packet holds this."""
    packets: list[str] = []
    while not any(until in packet for packet in packets):
        packets += (await session.get()).text.split("\x1e")
    return packets


async def test_who_goes_on_by_websocket_midway_is_told_every_event_once_and_in_order(house: Served) -> None:
    async with Polling.to(port_of(house), "/socket.io/") as session:
        assert (await session.post("40")).status_code == 200
        assert (await session.post('420["subscribe-to-job","j"]')).status_code == 200
        told = await polled(session, '"snapshot"')
        await house.journal.append(queued("j"))
        await house.journal.append(started("j"))
        told += await polled(session, '"seq":2,')
        async with upgraded(session) as wire:
            for percent in range(10, 60, 10):
                await house.journal.append(progressed("j", percent))
            await house.journal.append(completed("j"))
            while not any("job-completed" in packet for packet in told):
                told.append(str(await wire.packet(5)))
    assert seqs_of(told) == [1, 2, 3, 4, 5, 6, 7, 8]
