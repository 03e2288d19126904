"""From a plain thread to the event loop: the only place where blocking code and the loop meet."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import CancelledError as FutureCancelled
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol, TypeVar

from jobcast.worker.errors import Cancelled

T = TypeVar("T")

LOOP_END: Final = 5.0


class Speaker(Protocol):
    """What can be said about an attempt while it runs."""

    async def progress(
        self, value: Any, stage: str | None = None, details: Any = None, eta: float | None = None
    ) -> None: ...

    async def log(self, line: str, level: str | None = None) -> None: ...

    async def check_cancelled(self) -> None: ...


class Bridge:
    """Runs coroutines on ``loop`` for a thread that waits for them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._process = os.getpid()

    @property
    def is_here(self) -> bool:
        """False in a process that was forked off: the loop's thread stayed behind, and no call would ever end."""
        return os.getpid() == self._process

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Wait for the coroutine's result.

        Raises:
            Cancelled: the loop has ended, or ended while we waited: nobody listens any more.
            RuntimeError: this process was forked off the one that opened it.
        """
        if not self.is_here:
            coroutine.close()
            raise RuntimeError("expected a call in the process that connected; connect again after a fork")
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError as error:
            coroutine.close()
            raise Cancelled("the worker has ended") from error
        try:
            return future.result()
        except FutureCancelled as error:
            raise Cancelled("the worker has ended") from error


class Blocking:
    """The calls of a :class:`Speaker` for a plain thread; see there what each says and raises."""

    def __init__(self, bridge: Bridge, speaker: Speaker) -> None:
        self._bridge = bridge
        self._speaker = speaker

    def progress(self, value: Any, stage: str | None = None, details: Any = None, eta: float | None = None) -> None:
        self._bridge.call(self._speaker.progress(value, stage, details, eta))

    def log(self, line: str, level: str | None = None) -> None:
        self._bridge.call(self._speaker.log(line, level))

    def check_cancelled(self) -> None:
        self._bridge.call(self._speaker.check_cancelled())


@contextlib.contextmanager
def in_a_thread(connection: AbstractAsyncContextManager[T]) -> Iterator[tuple[Bridge, T]]:
    """What is connected, and the way to it, for a plain program: on a loop in a thread of its own until the block ends.

    A process that was forked off closes nothing: the connection is its parent's.
    """
    with _loop_in_thread() as bridge:
        connected = bridge.call(connection.__aenter__())
        try:
            yield bridge, connected
        except BaseException as error:
            if bridge.is_here:
                # It raises the error again: swallowed here, it is raised below with its own traceback.
                with _same(error):
                    bridge.call(connection.__aexit__(type(error), error, error.__traceback__))
            raise
        else:
            if bridge.is_here:
                bridge.call(connection.__aexit__(None, None, None))


@contextlib.contextmanager
def _same(error: BaseException) -> Iterator[None]:
    try:
        yield
    except BaseException as raised:
        if raised is not error:
            raise


@contextlib.contextmanager
def _loop_in_thread() -> Iterator[Bridge]:
    """An event loop in a thread of its own, for a program that has none; ended on the way out."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="jobcast-reporter", daemon=True)
    thread.start()
    bridge = Bridge(loop)
    try:
        yield bridge
    finally:
        if bridge.is_here:  # a loop that was forked off is the parent's: to close it would deafen that one
            with contextlib.suppress(TimeoutError):
                asyncio.run_coroutine_threadsafe(_cancel_the_others(), loop).result(LOOP_END)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(LOOP_END)
            if not thread.is_alive():
                loop.close()


async def _cancel_the_others() -> None:
    """Whoever still waits for a call is to hear that it will not end."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=LOOP_END / 2)
