"""Why an attempt is to end before its handler is done. The first reason stands."""

import asyncio
import enum
from typing import Final

from jobcast.worker.reporter import Stop

LOST: Final = "the job was lost to another worker"
STOPPED: Final = "the worker was stopped"


class Why(enum.Enum):
    """Who or what wants it to end."""

    CANCEL = enum.auto()
    TIMEOUT = enum.auto()
    SHUTDOWN = enum.auto()
    LOST = enum.auto()
    UNLOCKED = enum.auto()


class Stopping:
    """What they hold who may end an attempt: the heartbeat, its locks, the end of the worker.

    It knows neither the job nor its run. Held by the job and holding it, they were a ring for the garbage collector to
    find, one for each job that was over, and that took a sixth of a worker's time.
    """

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self.why: Why | None = None
        self.hurry: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when it is no use to wait for a handler that did not stop."""

    def end(self, why: Why, reason: str) -> None:
        if self._stop.reason is None:
            self.why = why
            self._stop.ask(reason)

    def lose(self) -> None:
        self.end(Why.LOST, LOST)
        self._make_haste()

    def lose_lock(self, key: str) -> None:
        self.end(Why.UNLOCKED, f"the job lost its lock {key}")

    def shut_down(self) -> None:
        self.end(Why.SHUTDOWN, STOPPED)
        self._make_haste()

    def _make_haste(self) -> None:
        if not self.hurry.done():
            self.hurry.set_result(None)
