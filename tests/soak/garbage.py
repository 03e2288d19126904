"""Bytes that are no event, of every kind, between events: how long the next event then takes.

``python -m tests.soak.garbage [--rounds 20]``. In each round every kind of rubbish is published once on the channel of
a job and once on that of its queue, and an event is appended right behind it.
"""

import argparse
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Any, Final

from jobcast.shared.journal import RedisJournal
from jobcast.shared.keys import Keys
from jobcast.shared.redis import connect
from tests.gateway.crowd import gauge
from tests.gateway.events import progressed, queued, started
from tests.gateway.listeners import Listener, SocketIoListener, SseListener, WebSocketListener
from tests.gateway.rubbish import rubbish
from tests.soak.stage import Figures, Spell, Stage, run, stage
from tests.support.waiting import wait_until

JOB: Final = "j"
QUEUE: Final = "demo"
FIGURE: Final = 50.0
"""Milliseconds from before the rubbish is published to the next event being told, its append included."""
TOLD_WITHIN: Final = 5.0


class Clocked(list[tuple[str, dict[str, Any]]]):
    """What a client was told, and when it was told each number."""

    def __init__(self) -> None:
        super().__init__()
        self.at: dict[int, float] = {}

    def append(self, told: tuple[str, dict[str, Any]], /) -> None:
        super().append(told)
        if told[0] == "job-progress":
            self.at[told[1]["seq"]] = time.perf_counter()


@contextlib.asynccontextmanager
async def doors(url: str) -> AsyncIterator[Mapping[str, Clocked]]:
    """One client of each door that watches the job; one that watches the queue."""
    async with (
        WebSocketListener.to(url) as plain,
        SocketIoListener.to(url) as socket,
        WebSocketListener.to(url) as queue,
        SseListener.to(url, f"/api/v1/jobs/{JOB}/events") as stream,
    ):
        clients: dict[str, Listener] = {
            "WebSocket": plain,
            "Socket.IO": socket,
            "WebSocket of a queue": queue,
            "SSE": stream,
        }
        clocked = {door: Clocked() for door in clients}
        for door, client in clients.items():
            client.told = clocked[door]
        await plain.call("subscribe-to-job", JOB)
        await socket.call("subscribe-to-job", JOB)
        await queue.call("subscribe-to-queue", {"queueName": QUEUE})
        for client in clients.values():
            await client.until("job-snapshot")
        yield clocked
        assert not any(client.ended for client in clients.values()), "a client was disconnected"


async def measure(staged: Stage, rounds: int) -> tuple[dict[str, list[float]], int]:
    """The seconds that each next event took, by door, sorted; and how often rubbish was published."""
    redis = connect(staged.redis_url, name="garbage")
    journal, channels = RedisJournal(redis), (Keys().channel(JOB), Keys().queue_channel(QUEUE))
    for event in (queued(JOB), started(JOB)):
        await journal.append(event)
    published = 0
    try:
        async with doors(staged.gateway.url) as told:
            took: dict[str, list[float]] = {door: [] for door in told}
            for _ in range(rounds):
                for wire in rubbish(JOB).values():
                    for channel in channels:
                        published += 1
                        begin = time.perf_counter()
                        await redis.publish(channel, wire)
                        seq = (await journal.append(progressed(JOB, published))).position.seq
                        await wait_until(partial(_are_told, told, seq), TOLD_WITHIN)
                        for door, client in told.items():
                            took[door].append(client.at[seq] - begin)
    finally:
        await redis.aclose()
    return {door: sorted(each) for door, each in took.items()}, published


def _are_told(told: Mapping[str, Clocked], seq: int) -> bool:
    return all(seq in client.at for client in told.values())


async def main(rounds: int) -> bool:
    figures = Figures()
    async with stage() as staged:
        took, published = await measure(staged, rounds)
        for door, each in took.items():
            print(f"{door}: {Spell(each)}")
            figures.at_most(f"the next event, {door}, at most", Spell(each).longest, FIGURE, "ms")
        counted = await gauge(staged.gateway.url, "jobcast_quarantined_total")
        figures.holds(f"{published} times rubbish was published, {counted:g} were counted", counted == published)
    return figures.well


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    run(main(parser.parse_args().rounds))
