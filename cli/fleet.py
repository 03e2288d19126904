"""``jobcast worker --processes N``: that many workers, started, kept and stopped as one."""

import asyncio
import random
import signal
import sys
import time
from collections.abc import Sequence
from typing import Final

import click

from jobcast.cli.exits import COMPLETED, FAILED, USAGE
from jobcast.cli.processes import Child, Command

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0
"""Seconds before a worker that died is started again: doubled for each death in a row."""
LONG_LIFE: Final = 60.0
"""Seconds after which a death is the first in a row again."""
BEYOND_DRAIN: Final = 10.0


def run(processes: int, arguments: Sequence[str], drain: float) -> int:
    """Keep ``processes`` workers running until SIGTERM or SIGINT, then drain them; returns the worst exit code.

    A second signal ends the drain at once. One that dies is started again, and said. What the user has to mend (exit
    code 2) ends them all. Killed with no time to say anything, we leave nobody behind: they drain and end.
    """
    argv = [sys.executable, "-P", "-m", "jobcast.cli", "worker", *arguments]
    command = Command("worker", argv, drain + BEYOND_DRAIN, orphaned=signal.SIGTERM)
    return asyncio.run(_Fleet(command).run(processes))


def arguments(redis_url: str | None, modules: Sequence[str], *, no_shipped: bool) -> list[str]:
    """What each worker is called with; the rest of its settings it finds in the environment, as we do."""
    redis = ["--redis", redis_url] if redis_url else []
    return [*redis, *(part for name in modules for part in ("--module", name)), *(["--no-shipped"] * no_shipped)]


class _Fleet:
    def __init__(self, command: Command) -> None:
        self._command = command
        self._asked = asyncio.Event()
        self._hurry = asyncio.Event()
        self._codes: list[int] = []

    async def run(self, processes: int) -> int:
        loop = asyncio.get_running_loop()
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(each, self._stop_asked)
        async with asyncio.TaskGroup() as group:
            for number in range(1, processes + 1):
                group.create_task(self._keep(number))
        return USAGE if USAGE in self._codes else max(self._codes, default=COMPLETED)

    def _stop_asked(self) -> None:
        if self._asked.is_set():
            self._hurry.set()
        self._asked.set()

    async def _keep(self, number: int) -> None:
        """One worker after the other in this place, until asked to stop."""
        deaths = 0
        while not self._asked.is_set():
            began = time.monotonic()
            child = await Child.start(self._command)
            how = await self._lived(child)
            if self._asked.is_set():
                self._codes.append(_told(child.exit_code))
                return
            if child.exit_code == USAGE:  # it has said in its own words what is to be mended
                self._codes.append(USAGE)
                self._asked.set()
                return
            deaths = 1 if time.monotonic() - began > LONG_LIFE else deaths + 1
            pause = min(FIRST_PAUSE * 2.0 ** min(deaths - 1, 16), LONGEST_PAUSE) * random.uniform(0.5, 1.0)  # noqa: S311  spreads restarts, guards nothing
            _complain(f"worker {number} (process {child.pid}) {how}; another is started in {pause:.1f} s")
            await self._pause(pause)

    async def _lived(self, child: Child) -> str:
        """How the child came to its end, by itself or by ours."""
        ended, asked = asyncio.create_task(child.ended()), asyncio.create_task(self._asked.wait())
        await asyncio.wait({ended, asked}, return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if not ended.done() and not await child.stop(self._hurry):
            _complain(f"the worker of process {child.pid} did not end in time and was killed")
        return await ended

    async def _pause(self, seconds: float) -> None:
        asked = asyncio.create_task(self._asked.wait())
        await asyncio.wait({asked}, timeout=seconds)
        asked.cancel()


def _told(code: int | None) -> int:
    """A shell's word for an end: 128 and the number of the signal that made it."""
    if code == -signal.SIGTERM:
        return COMPLETED  # asked to stop before it had so much as begun
    if code is None:
        return FAILED
    return code if code >= 0 else 128 - code


def _complain(text: str) -> None:
    click.echo(f"jobcast: {text}", err=True)
