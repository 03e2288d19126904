"""Child processes that are stopped in order, and none of which outlives us."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LEASH: Final = str(Path(__file__).with_name("leash.py"))
HURRIED: Final = 4.0
"""Seconds a process has after its second SIGTERM: a worker waits two for its handlers, then puts their jobs back."""
APART: Final = 0.2
"""Seconds between the two: of two that arrive at once a process sees one."""


@dataclass(frozen=True, slots=True)
class Command:
    """What to start.

    ``grace``: seconds it may take to end after SIGTERM; ``fed`` is written to its standard input; ``log`` is the
    file its output is put to, our own standard error without one; ``orphaned`` is what it is sent if we die first.
    """

    name: str
    argv: Sequence[str]
    grace: float
    fed: bytes = b""
    cwd: Path | None = None
    log: Path | None = None
    inherits: tuple[int, ...] = ()
    orphaned: signal.Signals = signal.SIGKILL


class Child:
    """One running process, in a session of its own: a terminal's Ctrl-C and hang-up reach us alone."""

    def __init__(self, command: Command, process: asyncio.subprocess.Process) -> None:
        self.name = command.name
        self.pid = process.pid
        self._grace = command.grace
        self._process = process

    @classmethod
    async def start(cls, command: Command) -> "Child":
        """Start it tied to our life. Call from the main thread: the kernel ties the child to the calling thread."""
        with command.log.open("ab") if command.log else contextlib.nullcontext(sys.stderr) as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", LEASH, str(os.getpid()), str(int(command.orphaned)), *command.argv),
                stdin=asyncio.subprocess.PIPE if command.fed else asyncio.subprocess.DEVNULL,
                stdout=output.fileno(),
                stderr=output.fileno(),
                cwd=command.cwd,
                pass_fds=command.inherits,
                start_new_session=True,
            )
        if process.stdin is not None:
            process.stdin.write(command.fed)
            with contextlib.suppress(ConnectionError):
                await process.stdin.drain()
            process.stdin.close()
        return cls(command, process)

    async def ended(self) -> str:
        """Wait for its end; how it came about, in words."""
        code = await self._process.wait()
        if code >= 0:
            return f"ended with exit code {code}"
        return f"was ended by {signal.Signals(-code).name}"

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number where a signal ended it."""
        return self._process.returncode

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    async def stop(self, hurry: asyncio.Event) -> bool:
        """SIGTERM, and once its grace is over SIGKILL. False when it had to be killed.

        Once ``hurry`` is set it is asked a second time, by which a worker puts its jobs back at once, and has
        ``HURRIED`` seconds for it: killed, it would leave them to be found when their locks are over.
        """
        if not self.running:
            return True
        waiting = asyncio.create_task(self._process.wait())
        hurried = asyncio.create_task(hurry.wait())
        self._send(signal.SIGTERM)
        await asyncio.wait({waiting}, timeout=min(APART, self._grace))
        await asyncio.wait({waiting, hurried}, timeout=self._grace, return_when=asyncio.FIRST_COMPLETED)
        if hurried.done() and not waiting.done():
            self._send(signal.SIGTERM)
            await asyncio.wait({waiting}, timeout=HURRIED)
        hurried.cancel()
        in_time = waiting.done()
        if not in_time:
            self._send(signal.SIGKILL)
            await waiting
        return in_time

    def _send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)


async def first_to_end(children: Sequence[Child]) -> tuple[Child, str]:
    """The child that ended first, and how."""
    waits = {asyncio.create_task(child.ended()): child for child in children}
    try:
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waits:
            task.cancel()
    task = done.pop()
    return waits[task], task.result()
