"""Hash every regular file below a directory into one digest that coreutils can confirm:

    cd PATH && find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum | sha256sum

The digest is the SHA-256 of the lines of ``sha256sum`` in the order of the paths' bytes. Files that cannot be read are
left out, as ``sha256sum`` leaves them out; each is a log line.
"""

import contextlib
import hashlib
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from jobcast.worker.context import SyncContext
from jobcast.worker.handlers.data import read_data
from jobcast.worker.handlers.paths import FILE_FLAGS, Roots
from jobcast.worker.handlers.walk import files

CHUNK: Final = 1024 * 1024
REPORT_EVERY: Final = 0.1
"""Seconds between two reports; each costs a switch to the event loop and back."""


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``path``: a directory below the roots."""

    path: str


def handler(roots: Roots) -> Callable[[SyncContext], dict[str, Any]]:
    """``{path}`` -> ``{files, bytes, digest, unreadable}``."""

    def checksum_tree(context: SyncContext) -> dict[str, Any]:
        place = roots.locate(read_data(context.data, Wanted).path)
        top = place.open_directory()
        try:
            sum_ = Checksum(context, total=_measure(context, top))
            for directory, name, path in files(top, sum_.unreadable, sum_.report):
                sum_.add(directory, name, path)
        finally:
            os.close(top)
        return sum_.result()

    return checksum_tree


@dataclass(slots=True)
class Checksum:
    """The sum so far; ``total`` in bytes, for progress alone: files may grow while they are read."""

    context: SyncContext
    total: int
    files: int = 0
    read: int = 0
    refused: int = 0
    _digest: Any = field(default_factory=hashlib.sha256)
    _buffer: memoryview = field(default_factory=lambda: memoryview(bytearray(CHUNK)))
    _reported: float = 0.0

    def add(self, directory: int, name: str, path: bytes) -> None:
        """Hash one file, named by its directory's descriptor."""
        before = self.read
        try:
            digest = self._hash(directory, name)
        except OSError as error:
            self.read = before
            self.unreadable(path, error)
            return
        if digest is not None:
            self.files += 1
            self._digest.update(line(digest, path))
        self.report()  # an empty file is none too few to look whether to stop

    def unreadable(self, path: bytes, error: OSError) -> None:
        self.refused += 1
        self.context.log(f"cannot read {path.decode('utf-8', 'backslashreplace')}: {error.strerror}", "warning")

    def _hash(self, directory: int, name: str) -> str | None:
        """The file's digest in hex; None when it is no regular file any more."""
        descriptor = os.open(name, FILE_FLAGS, dir_fd=directory)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            digest = hashlib.sha256()
            while size := os.readv(descriptor, [self._buffer]):
                digest.update(self._buffer[:size])
                self.read += size
                self.report()
            return digest.hexdigest()
        finally:
            os.close(descriptor)

    def report(self) -> None:
        """Say how far it is, now and then, and hear whether to stop."""
        now = time.monotonic()
        if now - self._reported >= REPORT_EVERY:
            self._reported = now
            self.context.progress(min(99.9, 100 * self.read / max(self.total, 1)), "hashing")

    def result(self) -> dict[str, Any]:
        self.context.progress(100, "hashing")
        return {
            "files": self.files,
            "bytes": self.read,
            "digest": self._digest.hexdigest(),
            "unreadable": self.refused,
        }


def line(digest: str, path: bytes) -> bytes:
    """One line of ``sha256sum``: a backslash, newline or carriage return in a name is escaped, and the line marked."""
    escaped = path.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    mark = b"\\" if escaped != path else b""
    return mark + digest.encode() + b"  " + escaped + b"\n"


def _measure(context: SyncContext, top: int) -> int:
    """Bytes to be read, as far as the files' sizes tell."""
    context.progress(0, "counting")
    total, looked = 0, time.monotonic()

    def look() -> None:
        nonlocal looked
        if time.monotonic() - looked >= REPORT_EVERY:
            looked = time.monotonic()
            context.check_cancelled()

    for directory, name, _ in files(top, look=look):
        look()
        with contextlib.suppress(OSError):  # gone since; the hashing tells
            total += os.stat(name, dir_fd=directory, follow_symlinks=False).st_size
    return total
