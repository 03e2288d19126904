"""Transactions, closed trades and balances, in the SQLite file that ``EXAMPLE_DATABASE`` names. Decimals are text."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any, Final

import msgspec

from examples.trading_records.records import HistoricalSwap, Record, Transaction

BUSY: Final = 5.0
"""Seconds a transaction waits for another one's end; beyond it fails, and its job is tried again."""
_TABLES: Final[dict[type[Record], str]] = {Transaction: "trading_transactions", HistoricalSwap: "trading_swaps"}


@contextmanager
def connect() -> Iterator[sqlite3.Connection]:
    """A connection of the caller's own, without a transaction."""
    path = os.environ.get("EXAMPLE_DATABASE", "examples.sqlite3")
    with closing(sqlite3.connect(path, timeout=BUSY, isolation_level=None)) as db:
        yield db


@contextmanager
def transaction() -> Iterator[sqlite3.Connection]:
    """All of the block or nothing."""
    with connect() as db:
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")


def create() -> None:
    """Make the tables that are not there yet."""
    # Refused at once while another process that starts does the same; the mode is the file's, so once is enough.
    with connect() as db, suppress(sqlite3.OperationalError):
        db.execute("PRAGMA journal_mode = WAL")
    with transaction() as db:
        for kind, table in _TABLES.items():
            columns = ", ".join(f"{name} ANY" for name in _columns(kind)[1:])
            db.execute(f"CREATE TABLE IF NOT EXISTS {table} (id TEXT PRIMARY KEY, {columns}) STRICT")
        db.execute("CREATE TABLE IF NOT EXISTS trading_agents (id TEXT, wallet TEXT, PRIMARY KEY (id, wallet)) STRICT")
        db.execute(
            "CREATE TABLE IF NOT EXISTS trading_balances (job TEXT, agent TEXT, wallet TEXT, token TEXT, amount TEXT,"
            " captured_at INTEGER, PRIMARY KEY (job, agent, wallet, token)) STRICT"
        )


def write(db: sqlite3.Connection, record: Record) -> bool:
    """Insert the record or replace the one of its id; whether it stands now. An older version changes nothing."""
    names, values = _columns(type(record)), [_stored(value) for value in msgspec.structs.astuple(record)]
    table, places = _TABLES[type(record)], ", ".join("?" * len(names))
    changes = ", ".join(f"{name} = excluded.{name}" for name in names[1:])
    upsert = f"ON CONFLICT (id) DO UPDATE SET {changes} WHERE excluded.version >= version"
    return db.execute(f"INSERT INTO {table} VALUES ({places}) {upsert}", values).rowcount == 1  # noqa: S608  names of ours


def add_agent(db: sqlite3.Connection, agent: str, wallet: str) -> None:
    db.execute("INSERT INTO trading_agents VALUES (?, ?) ON CONFLICT DO NOTHING", (agent, wallet))


def agents(db: sqlite3.Connection) -> list[tuple[str, str]]:
    """``(agent, wallet)`` of all of them."""
    return db.execute("SELECT id, wallet FROM trading_agents ORDER BY id, wallet").fetchall()


def write_balances(db: sqlite3.Connection, job: str, whose: tuple[str, str], found: dict[str, str], at: int) -> None:
    """What a job found in an agent's wallet, at this Unix ms; one that runs again replaces what it found before."""
    rows = [(job, *whose, token, amount, at) for token, amount in found.items()]
    db.executemany("INSERT OR REPLACE INTO trading_balances VALUES (?, ?, ?, ?, ?, ?)", rows)


def _columns(kind: type[Record]) -> list[str]:
    """The id first."""
    return [field.name for field in msgspec.structs.fields(kind)]


def _stored(value: Any) -> Any:
    return value if value is None or isinstance(value, int | str) else value.isoformat()
