"""One transaction on an SQLite database that others may be writing to, and that may not be there yet."""

import contextlib
import sqlite3
import stat
from collections.abc import Iterator
from typing import Final

from jobcast.worker.context import SyncContext
from jobcast.worker.errors import BadData
from jobcast.worker.handlers.paths import Place, kind_of

BUSY_STEP: Final = 0.25
"""Seconds of one wait for a database that somebody else holds; between two of them the job looks whether to stop."""
WAITING: Final = "waiting for the database"

_File = tuple[int, int]
_BUSY: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_NEVER: Final = {
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
}
"""What another attempt cannot change."""


@contextlib.contextmanager
def transaction(place: Place, context: SyncContext) -> Iterator[sqlite3.Connection]:
    """Committed when the block is left in peace, else as if nothing had been: no empty database is left behind.

    Another's transaction is waited for until the job's time-out.

    Raises:
        BadData: it cannot be opened, or is no database.
    """
    connection, made = _begin(place, context)
    with contextlib.closing(connection):
        try:
            yield connection
            _when_free(connection, "COMMIT", context, 99.9)
        except BaseException:
            _give_up(connection, place, made)
            raise


def _begin(place: Place, context: SyncContext) -> tuple[sqlite3.Connection, _File | None]:
    """A connection within its transaction, and the file if it was made for it.

    While we waited, whoever made the file may have failed and removed it again: what would then be written into the
    removed file would be lost, so that it is opened anew.
    """
    created = False
    while True:
        before = _file(place)
        created = created or before is None
        try:
            connection = sqlite3.connect(place.path, timeout=BUSY_STEP, isolation_level=None)
        except sqlite3.OperationalError as error:
            raise BadData(f"expected a database that can be opened, got {place.shown!r}: {error}") from error
        opened = _file(place)
        try:
            _when_free(connection, "BEGIN IMMEDIATE", context, 0)
            if opened is not None and opened == _file(place) and before in {None, opened}:
                return connection, opened if created else None
        except sqlite3.DatabaseError as error:
            if opened == _file(place):  # else it is the removal that SQLite stumbled over
                _give_up(connection, place, opened if created else None)
                if _code(error) not in _NEVER:
                    raise
                raise BadData(f"expected {place.shown!r} to be an SQLite database to write to: {error}") from error
        except BaseException:
            _give_up(connection, place, opened if created else None)
            raise
        connection.close()


def _when_free(connection: sqlite3.Connection, statement: str, context: SyncContext, percent: float) -> None:
    """Execute it once nobody else holds the database."""
    while True:
        try:
            connection.execute(statement)
        except sqlite3.OperationalError as error:
            if _code(error) not in _BUSY:
                raise
        else:
            return
        context.progress(percent, WAITING)
        context.check_cancelled()


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code."""
    return error.sqlite_errorcode & 0xFF


def _file(place: Place) -> _File | None:
    """Which file stands there; None for none."""
    try:
        found = place.path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadData(f"expected a database that can be opened, got {place.shown!r}: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode):
        raise BadData(f"expected database as a file, got {kind_of(found.st_mode)} {place.shown!r}")
    return found.st_dev, found.st_ino


def _give_up(connection: sqlite3.Connection, place: Place, made: _File | None) -> None:
    """Take all back and close; a file that was ``made`` for nothing is removed.

    That is done under its lock, so that nobody else can be writing into it meanwhile.
    """
    with contextlib.closing(connection), contextlib.suppress(sqlite3.Error, OSError, BadData):
        connection.rollback()
        if made is None:
            return
        connection.execute("BEGIN EXCLUSIVE")
        if _file(place) == made and place.path.stat().st_size == 0:
            place.path.unlink()
