"""A tree's regular files in the order of their paths' bytes, however deep it is and whoever moves it meanwhile."""

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from jobcast.worker.handlers.paths import DIRECTORY_FLAGS

KEPT_OPEN: Final = 16
"""Descriptors held at once. A directory further up is closed, and found again from below by its number."""


@dataclass(slots=True)
class _Level:
    """One directory on the way down. ``left`` are its entries still to come, the next one last."""

    prefix: bytes
    left: list[tuple[bytes, str]]
    number: tuple[int, int]
    descriptor: int | None


def files(
    top: int, unreadable: Callable[[bytes, OSError], None] | None = None, look: Callable[[], None] | None = None
) -> Iterator[tuple[int, str, bytes]]:
    """Each regular file below ``top``, as its directory's descriptor, its name and its path from ``./`` on.

    Links are not followed. Within a directory a subdirectory sorts as its name and a slash: that is the order of whole
    paths, so that no more than one directory's names are held for each level. ``look`` is called at each directory.
    """
    levels = [_level(os.dup(top), b"./")]
    try:
        while levels:
            level = levels[-1]
            if not level.left:
                _leave(levels)
                continue
            key, name = level.left.pop()
            path = level.prefix + key
            assert level.descriptor is not None
            if not key.endswith(b"/"):
                yield level.descriptor, name, path
                continue
            if look is not None:
                look()
            try:
                levels.append(_level(os.open(name, DIRECTORY_FLAGS, dir_fd=level.descriptor), path))
            except OSError as error:
                if unreadable is not None:
                    unreadable(path, error)
                continue
            if len(levels) > KEPT_OPEN:
                _close(levels[-1 - KEPT_OPEN])
    finally:
        for level in levels:
            _close(level)


def _level(descriptor: int, prefix: bytes) -> _Level:
    """The directory's names; it is closed if they cannot be read."""
    try:
        found = os.fstat(descriptor)
        return _Level(prefix, _entries(descriptor), (found.st_dev, found.st_ino), descriptor)
    except BaseException:
        os.close(descriptor)
        raise


def _leave(levels: list[_Level]) -> None:
    """Go up by one, to a directory that may have been closed meanwhile.

    Raises:
        OSError: it is no longer above: somebody moved a directory, and what is there now is not ours to read.
    """
    below = levels.pop()
    try:
        if levels and levels[-1].descriptor is None:
            above = os.open("..", DIRECTORY_FLAGS, dir_fd=below.descriptor)
            found = os.fstat(above)
            levels[-1].descriptor = above
            if (found.st_dev, found.st_ino) != levels[-1].number:
                raise OSError(errno.ESTALE, "a directory was moved while it was read", os.fsdecode(below.prefix))
    finally:
        _close(below)


def _close(level: _Level) -> None:
    if level.descriptor is not None:
        os.close(level.descriptor)
        level.descriptor = None


def _entries(directory: int) -> list[tuple[bytes, str]]:
    found = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                found.append((os.fsencode(entry.name) + b"/", entry.name))
            elif entry.is_file(follow_symlinks=False):
                found.append((os.fsencode(entry.name), entry.name))
    found.sort(key=lambda each: each[0], reverse=True)
    return found
