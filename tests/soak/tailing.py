"""The command ``jobcast tail --json`` as a client: a real process each, its lines held to the promise as they came."""

import asyncio
import contextlib
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from typing import Final

import msgspec

from tests.soak.resuming import Payload, Resuming
from tests.support.processes import REPOSITORY, clean_environment

ENDED_WELL: Final = (0, 1)
"""The job completed or failed."""
LONGEST_LINE: Final = 1 << 20


class _Line(Payload, kw_only=True):
    event: str


_line: Final = msgspec.json.Decoder(_Line).decode


class ByTail(Resuming):
    """It resumes by itself and shows each event once, so its log is that of one connection that never broke."""

    door = "tail"

    async def run(self) -> None:
        self._ask()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "jobcast.cli.main", "tail", self.job_id, "--json", "--url", next(self._urls)),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            env=clean_environment(),
            cwd=REPOSITORY,
            limit=LONGEST_LINE,
        )
        try:
            await self._read(process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _read(self, process: Process) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        async for text in process.stdout:
            line = _line(text)
            self._hear(line.event, line)
            self.present = True
        said = await process.stderr.read()
        code = await process.wait()
        assert code in ENDED_WELL, f"jobcast tail {self.job_id} ended with {code}: {said.decode()[-2000:]}"

    def reset(self) -> None:
        """Its connection is another process's: only a proxy between them can break it."""
