"""Child processes that never outlive the test that started them."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from tests.support.waiting import wait_until

REPOSITORY = Path(__file__).parent.parent.parent


class ChildProcess:
    """One child in a process group of its own; its output goes to files, so that no full pipe stops it."""

    def __init__(self, command: Sequence[str], *, env: Mapping[str, str], cwd: Path = REPOSITORY) -> None:
        self.command = list(command)
        self._directory = tempfile.TemporaryDirectory(prefix="jobcast-child-")
        with self._file("stdout").open("wb") as out, self._file("stderr").open("wb") as err:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=dict(env),
                cwd=cwd,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _file(self, name: str) -> Path:
        return Path(self._directory.name) / name

    def _read(self, name: str) -> str:
        return self._file(name).read_text(encoding="utf-8", errors="replace")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stdout(self) -> str:
        return self._read("stdout")

    @property
    def stderr(self) -> str:
        return self._read("stderr")

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number where a signal ended it."""
        return self._process.poll()

    @property
    def report(self) -> str:
        """What a person needs to see when the child did something else than the test expected."""
        command = " ".join(self.command)
        return f"{command}\nexit code: {self.exit_code}\n{self.stdout}\n--- stderr ---\n{self.stderr}"

    async def exited(self, timeout: float = 10.0) -> int:
        """Wait for the end without stopping the test's event loop, which may be serving this very child."""
        await wait_until(lambda: self.exit_code is not None, timeout, f"the end of {self.command}")
        return self._process.wait()

    async def says(self, text: str, timeout: float = 10.0) -> None:
        """Wait until the text stands in its output, on either stream."""
        await wait_until(
            lambda: text in self.stdout or text in self.stderr or self._fail_if_ended(f"saying {text!r}"),
            timeout,
            f"{text!r} from {self.command}",
        )

    def _fail_if_ended(self, before: str) -> bool:
        if self.exit_code is not None:
            raise AssertionError(f"the child ended before {before}: {self.report}")
        return False

    async def ready(self, url: str, timeout: float = 20.0) -> None:
        """Wait until ``<url>/readyz`` answers 200; fail at once if the child ends instead."""
        async with httpx.AsyncClient(base_url=url, timeout=2.0, trust_env=False) as client:

            async def answers() -> bool:
                self._fail_if_ended("being ready")
                with contextlib.suppress(httpx.TransportError):
                    return (await client.get("/readyz")).status_code == httpx.codes.OK
                return False

            await wait_until(answers, timeout, f"{url}/readyz of {self.command}")

    def family(self) -> list[int]:
        """Return the living pids of the child's group: itself, and what it started and did not send away."""
        return [pid for pid in _pids() if _group_of(pid) == self.pid]

    def signal(self, number: signal.Signals) -> None:
        """Send the signal to the child alone; Popen never sends to a pid that was already waited for."""
        self._process.send_signal(number)

    def pause(self) -> None:
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a power cut would, stopped or not, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self._process.wait()

    def stop(self, grace: float = 10.0) -> int:
        """Ask it to end, as a service manager would; kill it once the grace is over."""
        self.resume()
        self.signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(grace)
        self.kill()
        return self._process.wait()

    def close(self) -> None:
        """Leave nothing: neither the child nor what it started and did not end.

        While a member of the group lives its number cannot pass to strangers; with none left nobody is found.
        """
        if self.exit_code is None:
            self.stop()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._directory.cleanup()


class JobcastProcess(ChildProcess):
    """``python -m jobcast.cli.main <args>`` with only the settings the test gives it."""

    def __init__(self, *args: str, env: Mapping[str, str] | None = None) -> None:
        command = [sys.executable, "-m", "jobcast.cli.main", *args]
        super().__init__(command, env={**clean_environment(), **(env or {})})


def clean_environment() -> dict[str, str]:
    """Return this environment without a developer's own settings, which would decide what a test shows."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JOBCAST_", "EXAMPLE_"))}
    return {**kept, "PYTHONUNBUFFERED": "1"}


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _group_of(pid: int) -> int | None:
    """None for one that ended meanwhile, or that only waits to be reaped by its parent."""
    try:
        state, _parent, group, *_ = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state == "Z" else int(group)
