"""What is known of wallets, in SQLite: trades, balances, tokens, and the analyses made of them.

Money is in whole micro-dollars. Amounts of tokens are whole base units of any size, so they are kept as text.
"""

import json
import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

BUSY: Final = 15.0
"""Seconds a transaction waits for another process's before it fails."""
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS wallets (address TEXT PRIMARY KEY, synced_at INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS trades (
    id TEXT PRIMARY KEY,
    wallet TEXT NOT NULL,
    token TEXT NOT NULL,
    side TEXT NOT NULL CHECK (side IN ('buy', 'sell')),
    amount TEXT NOT NULL,
    value INTEGER NOT NULL,
    at INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS trades_of_wallet ON trades (wallet, at);
CREATE TABLE IF NOT EXISTS balances (
    wallet TEXT NOT NULL, token TEXT NOT NULL, amount TEXT NOT NULL, PRIMARY KEY (wallet, token)
);
CREATE TABLE IF NOT EXISTS tokens (
    token TEXT PRIMARY KEY, symbol TEXT NOT NULL, price INTEGER NOT NULL, at INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS analyses (
    wallet TEXT NOT NULL, kind TEXT NOT NULL, result TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (wallet, kind)
);
"""


@dataclass(frozen=True, slots=True)
class Trade:
    """``amount`` in base units of the token, ``value`` in micro-dollars, ``at`` in Unix ms."""

    id: str
    token: str
    side: str
    amount: int
    value: int
    at: int


@contextmanager
def connected() -> Iterator[sqlite3.Connection]:
    """A connection of the caller's own to the file that ``EXAMPLE_DATABASE`` names, with the tables made."""
    path = os.environ.get("EXAMPLE_DATABASE", "examples.sqlite3")
    with closing(sqlite3.connect(path, timeout=BUSY, isolation_level=None)) as db:
        # Refused at once while another process that starts does the same; the mode is the file's, so once is enough.
        with suppress(sqlite3.OperationalError):
            db.execute("PRAGMA journal_mode = WAL")
        db.executescript(_SCHEMA)
        yield db


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of the block or none of it; a ``Cancelled`` raised in it undoes it as every exception does."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def add_trades(db: sqlite3.Connection, wallet: str, trades: Iterable[Trade]) -> int:
    """Store trades, each once however often it is told of; how many were new."""
    before = db.total_changes
    rows = ((each.id, wallet, each.token, each.side, str(each.amount), each.value, each.at) for each in trades)
    db.executemany("INSERT OR IGNORE INTO trades VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    return db.total_changes - before


def count_trades(db: sqlite3.Connection, wallet: str) -> int:
    (count,) = db.execute("SELECT COUNT(*) FROM trades WHERE wallet = ?", (wallet,)).fetchone()
    return int(count)


def trades_of(db: sqlite3.Connection, wallet: str, since: int = 0, until: int | None = None) -> list[Trade]:
    """The trades of a wallet from ``since`` on and before ``until`` (Unix ms), oldest first."""
    rows = db.execute(
        "SELECT id, token, side, amount, value, at FROM trades"
        " WHERE wallet = ? AND at >= ? AND (? IS NULL OR at < ?) ORDER BY at, id",
        (wallet, since, until, until),
    )
    return [Trade(id_, token, side, int(amount), value, at) for id_, token, side, amount, value, at in rows]


def mark_synced(db: sqlite3.Connection, wallet: str, at: int) -> None:
    db.execute(
        "INSERT INTO wallets VALUES (?, ?)"
        " ON CONFLICT (address) DO UPDATE SET synced_at = MAX(synced_at, excluded.synced_at)",
        (wallet, at),
    )


def synced_at(db: sqlite3.Connection, wallet: str) -> int | None:
    row = db.execute("SELECT synced_at FROM wallets WHERE address = ?", (wallet,)).fetchone()
    return None if row is None else int(row[0])


def replace_balances(db: sqlite3.Connection, wallet: str, balances: Mapping[str, int]) -> None:
    db.execute("DELETE FROM balances WHERE wallet = ?", (wallet,))
    rows = ((wallet, token, str(amount)) for token, amount in balances.items())
    db.executemany("INSERT INTO balances VALUES (?, ?, ?)", rows)


def balances_of(db: sqlite3.Connection, wallet: str) -> dict[str, int]:
    rows = db.execute("SELECT token, amount FROM balances WHERE wallet = ? ORDER BY token", (wallet,))
    return {token: int(amount) for token, amount in rows}


def store_tokens(db: sqlite3.Connection, tokens: Mapping[str, tuple[str, int]], at: int) -> None:
    """Symbol and price of one whole token, in micro-dollars, as they were ``at`` (Unix ms)."""
    rows = ((token, symbol, price, at) for token, (symbol, price) in tokens.items())
    db.executemany("INSERT OR REPLACE INTO tokens VALUES (?, ?, ?, ?)", rows)


def tokens_without_price(db: sqlite3.Connection, wallets: Collection[str], since: int) -> list[str]:
    """The tokens these wallets traded that have no price from ``since`` (Unix ms) or later."""
    rows = db.execute(
        "SELECT DISTINCT token FROM trades WHERE wallet IN (SELECT value FROM json_each(?))"
        " AND token NOT IN (SELECT token FROM tokens WHERE at >= ?) ORDER BY token",
        (json.dumps(list(wallets)), since),
    )
    return [token for (token,) in rows]


def store_analysis(db: sqlite3.Connection, wallet: str, kind: str, result: Any, at: int) -> None:
    db.execute("INSERT OR REPLACE INTO analyses VALUES (?, ?, ?, ?)", (wallet, kind, json.dumps(result), at))


def analysis_of(db: sqlite3.Connection, wallet: str, kind: str) -> tuple[Any, int] | None:
    """The last result and when it was stored, in Unix ms."""
    row = db.execute("SELECT result, at FROM analyses WHERE wallet = ? AND kind = ?", (wallet, kind)).fetchone()
    return None if row is None else (json.loads(row[0]), int(row[1]))
