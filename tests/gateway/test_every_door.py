"""The same job through all doors at once: the same numbers in the same order."""

import asyncio
import contextlib

import pytest

from tests.gateway.events import completed, logged, progressed, queued, started
from tests.gateway.listeners import Listener, SocketIoListener, SseListener, WebSocketListener
from tests.gateway.support import Served


async def join_all(stack: contextlib.AsyncExitStack, url: str) -> list[Listener]:
    """One client through each door and transport."""
    sockets = [
        await stack.enter_async_context(SocketIoListener.to(url, transport=transport, path=path, namespace=namespace))
        for transport in ("websocket", "polling")
        for path, namespace in (("socket.io", "/"), ("socket.io/jobs", "/job-progress"))
    ]
    for each in sockets:
        assert (await each.call("subscribe-to-job", "j"))["ok"]
    plain = await stack.enter_async_context(WebSocketListener.to(url))
    assert (await plain.call("subscribe-to-job", "j"))["ok"]
    stream = await stack.enter_async_context(SseListener.to(url, "/api/v1/jobs/j/events"))
    queue = await stack.enter_async_context(SseListener.to(url, "/api/v1/queues/demo/events"))
    await stream.until("job-snapshot")
    return [*sockets, plain, stream, queue]


@pytest.mark.parametrize("moment", ["before it exists", "midway", "after its end"])
async def test_all_doors_tell_the_same_numbers_in_the_same_order(house: Served, moment: str) -> None:
    events = [queued("j"), started("j")]
    events += [event for n in range(60) for event in (progressed("j", n), logged("j", f"line {n}"))]
    events.append(completed("j"))
    joined = {"before it exists": 0, "midway": 50, "after its end": len(events)}[moment]
    async with contextlib.AsyncExitStack() as stack:
        for event in events[:joined]:
            await house.journal.append(event)
        everyone = await join_all(stack, house.url)
        if moment == "after its end":
            # Whoever watches the queue alone is told of the jobs that are live.
            everyone.pop()
        for number, event in enumerate(events[joined:]):
            await house.journal.append(event)
            if number % 7 == 0:
                await asyncio.sleep(0.003)
        for listener in everyone:
            await listener.until("job-completed")
            assert listener.applied == list(range(joined + 1, len(events) + 1))
        assert {listener.named("job-completed")[0]["epoch"] for listener in everyone} == {
            (await house.journal.read("j")).fields["epoch"].decode()
        }
