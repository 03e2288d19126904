"""A CSV file into a table of an SQLite database: what is a row goes into the table, what is none into its rejects.

One transaction replaces the table and its rejects whole. A job that is tried again, or killed midway and taken by
another worker, so never doubles a row and never leaves half a table. A table that no import made is not touched.
"""

import os
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, BinaryIO, Final

import msgspec

from jobcast.worker.context import SyncContext
from jobcast.worker.errors import BadData, Unrecoverable
from jobcast.worker.handlers.csv_rows import Reject, Row, Rows
from jobcast.worker.handlers.data import read_data
from jobcast.worker.handlers.database import transaction
from jobcast.worker.handlers.paths import Roots

BATCH: Final = 1000
MOST_COLUMNS: Final = 500
LONGEST_COLUMN: Final = 200
MOST_LINES: Final = 100
"""Rejects that are told one by one as log lines; of the rest only the number. All stand in the rejects table."""
_TABLE: Final = re.compile(r"(?!sqlite_|jobcast_imports$)[A-Za-z_][A-Za-z0-9_]{0,62}", re.ASCII | re.IGNORECASE)


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``path`` and ``database`` below the roots; ``delimiter`` one character."""

    path: str
    database: str
    table: str
    delimiter: str = ","


def handler(roots: Roots) -> Callable[[SyncContext], dict[str, Any]]:
    """``{path, database, table, delimiter?}`` -> ``{rows, rejected, columns}``."""

    def import_csv(context: SyncContext) -> dict[str, Any]:
        wanted = read_data(context.data, Wanted)
        _check(wanted)
        source, database = roots.locate(wanted.path), roots.locate(wanted.database)
        if source.path == database.path:
            raise BadData("expected path and database to be two files, got one")
        with open(source.open_file(), "rb") as file, transaction(database, context) as connection:  # noqa: PTH123  a descriptor
            return Import(context, connection, wanted, file).run()

    return import_csv


def _check(wanted: Wanted) -> None:
    if _TABLE.fullmatch(wanted.table) is None or wanted.table.lower().endswith("_rejects"):
        raise BadData(
            "expected table as a letter and up to 62 letters, digits and _, not one of SQLite's own or ours "
            f"(sqlite_..., jobcast_imports, ..._rejects), got {wanted.table[:80]!r}"
        )
    if len(wanted.delimiter) != 1 or wanted.delimiter in '"\r\n\0 ' or wanted.delimiter.isalnum():
        raise BadData(
            "expected delimiter as one character that is no quote, space, line break, letter or digit, "
            f"got {wanted.delimiter[:20]!r}"
        )


class Import:
    """One file on its way into one table."""

    def __init__(self, context: SyncContext, connection: sqlite3.Connection, wanted: Wanted, file: BinaryIO) -> None:
        self._context = context
        self._connection = connection
        self._table = wanted.table
        self._rejects_table = f"{wanted.table}_rejects"
        self._size = os.fstat(file.fileno()).st_size
        self._rows = Rows(file, wanted.delimiter)
        self._imported = 0
        self._rejected = 0

    def run(self) -> dict[str, Any]:
        """Import all; the caller commits."""
        reading = iter(self._rows)
        names = columns(_header(reading))
        self._rows.width = len(names)
        self._make_tables(names)
        insert = f"INSERT INTO {quoted(self._table)} VALUES ({', '.join('?' * len(names))})"  # noqa: S608  quoted
        while batch := list(islice(reading, BATCH)):
            self._insert(insert, batch)
            self._context.progress(min(99.9, 100 * self._rows.offset / max(self._size, 1)), "importing")
        if self._rejected > MOST_LINES:
            self._context.log(
                f"{self._rejected - MOST_LINES} more lines were rejected; all are in {self._rejects_table}", "warning"
            )
        self._context.progress(99.9, "committing")
        return {"rows": self._imported, "rejected": self._rejected, "columns": names}

    def _make_tables(self, names: Sequence[str]) -> None:
        execute = self._connection.execute
        execute("CREATE TABLE IF NOT EXISTS jobcast_imports (name TEXT PRIMARY KEY COLLATE NOCASE, job_id TEXT)")
        fields = ", ".join(f"{quoted(name)} TEXT" for name in names)
        for table, shape in ((self._table, fields), (self._rejects_table, "line INTEGER, reason TEXT, raw TEXT")):
            there = execute("SELECT 1 FROM sqlite_master WHERE name = ? COLLATE NOCASE", (table,)).fetchone()
            ours = execute("SELECT 1 FROM jobcast_imports WHERE name = ?", (table,)).fetchone()
            if there and not ours:
                raise Unrecoverable(f"table {table} is there and was not made by import-csv; it is left as it is")
            execute(f"DROP TABLE IF EXISTS {quoted(table)}")
            execute(f"CREATE TABLE {quoted(table)} ({shape})")
            execute("INSERT OR REPLACE INTO jobcast_imports VALUES (?, ?)", (table, self._context.job_id))

    def _insert(self, insert: str, batch: "Sequence[Row | Reject]") -> None:
        good = [each.fields for each in batch if isinstance(each, Row)]
        bad = [each for each in batch if isinstance(each, Reject)]
        self._connection.executemany(insert, good)
        self._connection.executemany(f"INSERT INTO {quoted(self._rejects_table)} VALUES (?, ?, ?)", bad)  # noqa: S608  quoted
        self._imported += len(good)
        for reject in bad[: max(0, MOST_LINES - self._rejected)]:
            self._context.log(f"line {reject.line}: {reject.reason}", "warning")
        self._rejected += len(bad)


def _header(reading: "Iterator[Row | Reject]") -> list[str]:
    first = next(reading, None)
    if first is None:
        raise BadData("expected a header row, got an empty file")
    if isinstance(first, Reject):
        raise BadData(f"expected a header row, but line {first.line} cannot be read: {first.reason}")
    if len(first.fields) > MOST_COLUMNS:
        raise BadData(f"expected at most {MOST_COLUMNS} columns, got {len(first.fields)}")
    return first.fields


def columns(header: Sequence[str]) -> list[str]:
    """The names of the columns: trimmed; an empty one is ``column_<n>``; one that is taken gets ``_2``, ``_3`` ...

    SQLite tells no small from capital letters in a name, so neither does this.
    """
    names: list[str] = []
    taken: set[str] = set()
    for position, told in enumerate(header, 1):
        base = told.strip()[:LONGEST_COLUMN] or f"column_{position}"
        name, count = base, 1
        while name.lower() in taken:
            count += 1
            name = f"{base}_{count}"
        taken.add(name.lower())
        names.append(name)
    return names


def quoted(name: str) -> str:
    """A name as SQL takes it, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'
