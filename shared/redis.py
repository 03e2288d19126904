"""How a connection to Redis is made. All time-outs and retries of the project are set here, on purpose.

redis-py's own defaults collide with what stands on them: its 5 s read time-out cuts BullMQ's blocking wait short and
leaves an idle worker deaf, and its subscriber connection resubscribes in silence after losing messages.
"""

import asyncio
import re
from collections.abc import Iterable
from typing import Final

import redis
from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.exceptions import (
    BusyLoadingError,
    MasterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)
from redis.retry import Retry as BlockingRetry

from jobcast.shared.errors import BadSettings, Unavailable
from jobcast.shared.joined import Joined

CONNECT_TIMEOUT: Final = 3.0
COMMAND_TIMEOUT: Final = 3.0
BLOCKING_TIMEOUT: Final = 30.0
"""Longer than any blocking wait of BullMQ (10 s), so that an idle worker is never taken for a dead connection."""

_WILL_NOT: Final = (
    ("OOM", "Redis is out of memory and takes no writes; nothing was recorded"),
    ("READONLY", "this Redis is a read-only replica; nothing was recorded"),
    ("MASTERDOWN", "this Redis is a replica that has lost its master and serves nothing"),
    ("MISCONF", "Redis cannot save to its disk and takes no writes; nothing was recorded"),
    ("NOREPLICAS", "Redis has fewer replicas than it was told to have, and takes no writes; nothing was recorded"),
    ("BUSY", "Redis is busy with a script that does not end; try again"),
)
"""What Redis says when it cannot serve, by its code, and what we say."""
_KINDS: Final = ((OutOfMemoryError, "OOM"), (ReadOnlyError, "READONLY"), (MasterDownError, "MASTERDOWN"))
_MAY_NOT: Final = re.compile(r"\bNOPERM\b|has no permissions|can't (run|access|publish)|No permissions")


def connect(url: str, *, name: str, connections: int = 16, joined: bool = False) -> Redis:
    """A client for commands: bytes in and out, at most ``connections`` at once, the next caller waits its turn.

    ``joined``, for a process that calls many scripts at once: see :mod:`jobcast.shared.joined`.

    A command is tried again twice: a Redis that refuses costs well under a second, one that hangs about ten. Every
    write of the project carries an idempotency key or may be repeated, so a lost answer costs nothing.

    Raises:
        BadSettings: the URL cannot be understood.
    """
    pool = _pool(url, name, connections, COMMAND_TIMEOUT, decode=False)
    return (Joined if joined else Redis).from_pool(pool)


def connect_for_bullmq(
    url: str, *, name: str, connections: int = 32, blocking: bool = True, joined: bool = False
) -> Redis:
    """A client BullMQ can stand on: text in and out, and a read time-out longer than a worker's blocking wait.

    Without ``blocking``, for a producer, that nobody need wait so long to hear that Redis hangs.
    """
    timeout = BLOCKING_TIMEOUT if blocking else COMMAND_TIMEOUT
    return (Joined if joined else Redis).from_pool(_pool(url, name, connections, timeout, decode=True))


def connect_thread(url: str, *, name: str) -> redis.Redis:
    """A client for one thread without an event loop: one connection, bytes in and out, nothing tried again by itself.

    Raises:
        BadSettings: the URL cannot be understood.
    """
    try:
        return redis.Redis.from_url(
            url,
            client_name=name,
            max_connections=1,
            socket_timeout=COMMAND_TIMEOUT,
            socket_connect_timeout=CONNECT_TIMEOUT,
            health_check_interval=0,
            retry=BlockingRetry(NoBackoff(), 0),
            **({} if url.startswith("unix:") else {"socket_keepalive": True}),
        )
    except ValueError:
        raise BadSettings(_not_a_url(url)) from None


def duplicate(client: Redis, *, name: str) -> AbstractConnection:
    """One connection of its own with the settings of ``client``, not yet connected, that never reconnects by itself.

    For a subscriber: whoever reads it must learn of every loss, so nothing here retries.
    """
    pool: ConnectionPool = client.connection_pool
    settings = dict(pool.connection_kwargs)
    settings.update(client_name=name, retry=Retry(_no_wait(), 0), retry_on_error=[], decode_responses=False)
    settings.update(socket_timeout=None, health_check_interval=0, protocol=2)
    return pool.connection_class(**settings)


def without_secrets(url: str) -> str:
    """The URL for logs and messages, its user and password left out."""
    # The last @ of all ends the credentials: a password may hold an @ or, against the rules, a slash.
    scheme, mark, rest = url.partition("://")
    if not mark:
        return "[no URL]"
    return scheme + mark + re.split(r"[?#]", rest.rpartition("@")[2], maxsplit=1)[0]


class _Unavailable:
    # No generator with @contextmanager: every call to Redis passes here, and that one costs four times as much.
    __slots__ = ()

    def __enter__(self) -> None: ...

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is not None and (told := _meant_by(error)) is not None:
            raise Unavailable(told) from error


_UNAVAILABLE: Final = _Unavailable()


def unavailable() -> _Unavailable:
    """Turn what redis-py raises when the store cannot serve into one ``Unavailable`` with a sentence."""
    return _UNAVAILABLE


def _meant_by(error: BaseException) -> str | None:
    """Why the store could not serve; None for any other error."""
    match error:
        case RedisConnectionError() | RedisTimeoutError() | BusyLoadingError() | OSError():
            return "Redis cannot be reached; try again"
        case NoScriptError():
            # redis-py loads a script that is not known and calls it again; Redis was started anew between the two.
            return "Redis was started again meanwhile; try again"
        case ResponseError():
            return _told(error)
        case RedisError():
            return f"Redis did not serve the call: {error}"
        case _:
            return None


def _told(error: ResponseError) -> str | None:
    """What Redis means by an error that is none of the call's; None for one that is.

    redis-py cuts the code off where it has a class for it. An error from within a script has none, in Redis 6.2 always,
    and the code stands somewhere in its text.
    """
    text = str(error)
    code = next((code for kind, code in _KINDS if isinstance(error, kind)), "")
    for word, sentence in _WILL_NOT:
        if word == code or re.search(rf"\b{word}\b", text):
            return sentence
    if isinstance(error, NoPermissionError) or _MAY_NOT.search(text):
        return f"the user that this process is to Redis may not do this: {text[:200]}"
    return None


class _Cancellable(AbstractConnection):
    """A connection whose calls end when their task is cancelled.

    redis-py (8.1) writes each command under ``asyncio.wait_for``, and that one of Python 3.11 forgets a cancel that
    comes in the moment its write is done: one of three that fall into a call went on as if nothing had been asked.
    A worker told to stop then sat its blocking wait out.
    """

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        task = asyncio.current_task()
        asked = task.cancelling() if task is not None else 0
        await super().send_packed_command(command, check_health)
        if task is not None and task.cancelling() > asked:
            await self.disconnect(nowait=True)  # the answer to what was sent must not be the next caller's
            raise asyncio.CancelledError


def _no_wait() -> ExponentialWithJitterBackoff:
    return ExponentialWithJitterBackoff(base=0, cap=0)


def _pool(url: str, name: str, connections: int, timeout: float, *, decode: bool) -> BlockingConnectionPool:
    try:
        pool: BlockingConnectionPool = BlockingConnectionPool.from_url(
            url,
            max_connections=connections,
            timeout=COMMAND_TIMEOUT,
            client_name=name,
            decode_responses=decode,
            socket_timeout=timeout,
            socket_connect_timeout=CONNECT_TIMEOUT,
            # A socket in the file system has no peer that could vanish, and redis-py refuses the word for it.
            **({} if url.startswith("unix:") else {"socket_keepalive": True}),
            health_check_interval=0,
            retry=Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.5), 2),
            retry_on_error=[RedisConnectionError, RedisTimeoutError, BusyLoadingError],
        )
    except ValueError:
        # The parser quotes what it cannot read: half a password, where that holds a slash.
        raise BadSettings(_not_a_url(url)) from None
    pool.connection_class = type("Connection", (_Cancellable, pool.connection_class), {})
    return pool


def _not_a_url(url: str) -> str:
    return f"expected JOBCAST_REDIS_URL as redis://host:port/db, rediss:// or unix://path, got {without_secrets(url)}"
