"""Plain WebSocket: arrays in, arrays out, a call with an id answered as ``ack``."""

import pytest
from structlog.testing import capture_logs

from tests.gateway.engine.raw import Wire
from tests.gateway.events import completed, progressed, queued, run_job, started
from tests.gateway.listeners import WebSocketListener
from tests.gateway.support import Served, port_of, upgrade
from tests.support.waiting import wait_until


async def test_a_call_is_acknowledged_only_where_it_carries_an_id(house: Served) -> None:
    async with WebSocketListener.to(house.url) as listener:
        assert set(await listener.until("connected")) == {"message", "clientId", "timestamp"}
        await listener.send("subscribe-to-job", {"jobId": "j"})
        await listener.until("subscription-success")
        assert listener.named("ack") == []
        answer = await listener.call("subscribe-to-job", "j")
        assert (answer["ok"], answer["jobId"], answer["recovered"]) == (True, "j", False)
        await listener.send("get-subscriptions", None, "my own id")
        await wait_until(lambda: [a for a in listener.named("ack") if a["id"] == "my own id"], 2, "the answer")
        assert await listener.call("unsubscribe-from-job", {"jobId": "j"}) == {"id": answer["id"] + 1, "ok": True}


async def test_a_job_is_told_before_it_exists_midway_and_after_its_end(house: Served) -> None:
    async with (
        WebSocketListener.to(house.url) as before,
        WebSocketListener.to(house.url) as midway,
        WebSocketListener.to(house.url) as after,
    ):
        await before.call("subscribe-to-job", "j")
        await house.journal.append(queued("j"))
        await house.journal.append(started("j"))
        await midway.call("subscribe-to-job", "j")
        await house.journal.append(progressed("j", 40))
        await house.journal.append(completed("j"))
        await after.call("subscribe-to-job", "j")
        for listener in (before, midway, after):
            await listener.until("job-completed")
        assert before.seqs == [1, 2, 3, 4]
        assert midway.seqs == [2, 3, 4]
        assert after.seqs == [4]
        states = [each.named("job-snapshot")[0]["state"] for each in (before, midway, after)]
        assert states == ["unknown", "active", "completed"]


async def test_a_resumption_is_recovered_and_one_of_another_life_is_not(house: Served) -> None:
    appended = await run_job(house.journal, "j")
    epoch = appended[0].position.epoch
    async with WebSocketListener.to(house.url) as listener:
        answer = await listener.call("subscribe-to-job", {"jobId": "j", "since": {"epoch": epoch, "seq": 4}})
        assert answer["recovered"] is True
        await listener.until("job-completed")
        assert listener.seqs == [5, 6]
        answer = await listener.call("subscribe-to-job", {"jobId": "j", "since": {"epoch": "other", "seq": 4}})
        assert answer["recovered"] is False
        assert (await listener.until("job-snapshot"))["recovered"] is False
        assert listener.seqs == [5, 6]


@pytest.mark.parametrize("size", [10, 15_000])
async def test_a_queue_of_many_large_jobs_is_introduced_whole_to_one_who_reads(house: Served, size: int) -> None:
    for number in range(200):
        await house.journal.append(queued(f"j{number}"))
        await house.journal.append(started(f"j{number}"))
        await house.journal.append(progressed(f"j{number}", 5, details="x" * size))
    async with WebSocketListener.to(house.url) as listener:
        await listener.send("subscribe-to-queue", {"queueName": "demo"})
        await wait_until(lambda: len(listener.named("job-progress")) >= 200 or listener.ended, 10, "every job")
        assert not listener.ended
        assert {each["jobId"] for each in listener.named("job-snapshot")} == {f"j{number}" for number in range(200)}
        assert len(listener.named("job-progress")) == 200
        for number in range(200):
            await house.journal.append(completed(f"j{number}"))
        await wait_until(lambda: len(listener.named("job-completed")) == 200, 10, "every end")
        assert listener.connection.close_code is None


async def test_a_websocket_on_a_connection_that_served_a_request_is_refused_in_words(house: Served) -> None:
    async with Wire.to(port_of(house)) as wire:
        await wire.send(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert (await wire.answer()).status == 200  # type: ignore[union-attr]
        with capture_logs() as logs:
            await wire.send(upgrade(port_of(house)))
            answer = await wire.answer()
    assert answer is not None
    assert (answer.status, answer.body) == (400, b"open a WebSocket on a connection of its own")
    assert logs == []
