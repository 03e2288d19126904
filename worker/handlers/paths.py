"""The guard of handlers that read files: only below the configured roots, whatever links stand in between.

A path is resolved first, so that a link which stays below a root is fine. Then it is opened again component by
component, each by the descriptor of the one before and never through a link: whoever swaps a directory for a link
between the look and the open gets an error, not a file from elsewhere.
"""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jobcast.worker.errors import BadData

LONGEST_PATH: Final = 4096
DIRECTORY_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Not to wait for a writer, should a pipe stand where a file was.
FILE_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Place:
    """Somewhere below a root; it may not exist. ``shown`` is the path as the job gave it."""

    root: Path
    parts: tuple[str, ...]
    shown: str

    @property
    def path(self) -> Path:
        return self.root.joinpath(*self.parts)

    def open_directory(self) -> int:
        """A descriptor of the directory.

        Raises:
            BadData: it is not there, no directory, or may not be read.
        """
        try:
            return _descend(self.root, self.parts)
        except OSError as error:
            raise BadData(f"expected a directory that can be read, got {self.shown!r}: {error.strerror}") from error

    def open_file(self) -> int:
        """A descriptor of the file, for reading; BadData as above."""
        if not self.parts:
            raise BadData(f"expected a file, got the directory {self.shown!r}")
        try:
            above = _descend(self.root, self.parts[:-1])
            try:
                descriptor = os.open(self.parts[-1], FILE_FLAGS, dir_fd=above)
            finally:
                os.close(above)
            mode = os.fstat(descriptor).st_mode
        except OSError as error:
            raise BadData(f"expected a file that can be read, got {self.shown!r}: {error.strerror}") from error
        if not stat.S_ISREG(mode):
            os.close(descriptor)
            raise BadData(f"expected a file, got {kind_of(mode)} {self.shown!r}")
        return descriptor


def kind_of(mode: int) -> str:
    """What stands where a file was expected, in words."""
    if stat.S_ISDIR(mode):
        return "the directory"
    return "the pipe" if stat.S_ISFIFO(mode) else "the device or socket"


class Roots:
    """The directories handlers may read below. A relative path is below the first of them."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = [root.resolve() for root in roots]

    def locate(self, path: str) -> Place:
        """Where a path leads.

        Raises:
            BadData: outside every root, or no path. The sentence is the same whether the file exists or not: who may
                not read it cannot learn that either.
        """
        if not self._roots:
            raise BadData("no file may be read: JOBCAST_FILE_ROOTS is empty")
        if not path or "\0" in path or len(path) > LONGEST_PATH:
            raise BadData(f"expected a path of 1 to {LONGEST_PATH} characters without NUL, got {path[:80]!r}")
        try:
            real = (self._roots[0] / path).resolve()
        except (OSError, RuntimeError, ValueError) as error:  # links in a circle, names no file system takes
            raise BadData(f"expected a path that leads somewhere, got {path[:200]!r}") from error
        for root in self._roots:
            if real.is_relative_to(root):
                return Place(root, real.relative_to(root).parts, path[:200])
        raise BadData(f"{path[:200]!r} is not below the directories this worker may read (JOBCAST_FILE_ROOTS)")


def _descend(root: Path, parts: Sequence[str]) -> int:
    current = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in parts:
        try:
            below = os.open(part, DIRECTORY_FLAGS, dir_fd=current)
        finally:
            os.close(current)
        current = below
    return current
