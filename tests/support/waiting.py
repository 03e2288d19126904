"""Patience with a limit: no test sleeps and hopes, it waits for what it means and says what it waited for."""

import asyncio
import inspect
import random
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")
PAUSE = 0.01

# pytest-randomly seeds the shared generator alike in every test and in every run beside this one.
_RANDOM = random.SystemRandom()


@overload
async def wait_until(predicate: Callable[[], Awaitable[T]], timeout: float = ..., what: str = ...) -> T: ...
@overload
async def wait_until(predicate: Callable[[], T], timeout: float = ..., what: str = ...) -> T: ...
async def wait_until(predicate: Callable[[], Any], timeout: float = 5.0, what: str = "") -> Any:
    """Return the predicate's first truthy value, or fail with what was awaited and what was seen last.

    The predicate may be a plain or an async function; an exception in it ends the wait at once.
    """
    deadline = time.monotonic() + timeout
    what = what or repr(predicate)
    while True:
        answer = predicate()
        value = await answer if inspect.isawaitable(answer) else answer
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"waited {timeout:g} s for {what}; last seen: {value!r}")
        await asyncio.sleep(PAUSE)


def free_port() -> int:
    """Return a loopback port nobody listens on, below those the kernel hands to outgoing connections.

    A port from the kernel's own range can be taken back by any client while a killed server restarts;
    worse, a client that retries a closed port in that range can at last connect to itself.
    """
    for _ in range(100):
        port = _RANDOM.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port between 20000 and 32000 in 100 tries")
