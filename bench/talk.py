"""The benchmark's own tools: child processes that take lines and answer each with one line of JSON."""

import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.machine import Invalid

HERE = Path(__file__).parent


class Tool:
    """One such child. Every answer is waited for with an end."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self.name = Path(argv[0]).name
        self._rest = b""
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, cwd=HERE.parent, start_new_session=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, line: str) -> None:
        """Send a line whose answer is asked for later, with :meth:`answer`."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Invalid(f"{self.name} has ended: exit code {self._process.wait()}") from None

    def ask(self, line: str, timeout: float) -> dict[str, Any]:
        """Send a line and return its answer.

        Raises:
            Invalid: there was none in time, or it says that something went wrong.
        """
        self.tell(line)
        return self.answer(line, timeout)

    def answer(self, asked: str, timeout: float) -> dict[str, Any]:
        """Return the next answer, see :meth:`ask`."""
        answer: dict[str, Any] = json.loads(self._read_line(asked, timeout))
        if not answer["ok"]:
            raise Invalid(f"{self.name} could not {asked!r}: {answer}")
        return answer

    def _read_line(self, asked: str, timeout: float) -> bytes:
        assert self._process.stdout is not None
        output, deadline = self._process.stdout.fileno(), time.monotonic() + timeout
        while b"\n" not in self._rest:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([output], [], [], left)[0]:
                raise Invalid(f"{self.name} did not answer {asked!r} in {timeout:g} s")
            got = os.read(output, 65536)
            if not got:
                raise Invalid(f"{self.name} ended instead of answering {asked!r}: exit code {self._process.wait()}")
            self._rest += got
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def close(self) -> None:
        """End it, whatever it does: it keeps nothing."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def build(directory: Path) -> None:
    """Compile the clients and the floor.

    Raises:
        Invalid: there is no C compiler, or it refused.
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise Invalid(
            "the benchmark's clients are written in C and there is no cc (Debian, Ubuntu: apt-get install gcc)"
        )
    for name in ("load", "floor"):
        command = [compiler, "-O2", "-o", str(directory / name), str(HERE / f"{name}.c")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode:
            raise Invalid(f"{' '.join(command)} failed:\n{done.stderr}")
