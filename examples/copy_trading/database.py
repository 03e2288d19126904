"""Users, vaults, trades and subscriptions, in the SQLite file that ``EXAMPLE_DATABASE`` names.

A chain's addresses are written in either case, so they are compared without it. Amounts are whole numbers of any size,
kept as text and reckoned with in Python; shares are decimals with six places, as text.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Final

from examples.copy_trading.events import Deposited, Traded, VaultCreated, Withdrawn
from examples.copy_trading.performance import Performance

BUSY: Final = 15.0
"""Seconds a transaction waits for another one's end; beyond it fails, and its job is tried again."""
NOTHING: Final = "0.000000"
_TABLES: Final = (
    "copy_users (address TEXT PRIMARY KEY COLLATE NOCASE)",
    """copy_vaults (
        address TEXT PRIMARY KEY COLLATE NOCASE,
        leader TEXT NOT NULL COLLATE NOCASE REFERENCES copy_users,
        name TEXT NOT NULL,
        status TEXT NOT NULL,
        value TEXT NOT NULL, roi TEXT NOT NULL, drawdown TEXT NOT NULL
    )""",
    """copy_trades (
        transaction_hash TEXT PRIMARY KEY COLLATE NOCASE,
        vault TEXT NOT NULL COLLATE NOCASE REFERENCES copy_vaults,
        block INTEGER NOT NULL, log_index INTEGER NOT NULL,
        token_in TEXT NOT NULL, token_out TEXT NOT NULL,
        amount_in TEXT NOT NULL, amount_out TEXT NOT NULL,
        value_before TEXT NOT NULL, value_after TEXT NOT NULL
    )""",
    """copy_snapshots (
        transaction_hash TEXT PRIMARY KEY COLLATE NOCASE REFERENCES copy_trades,
        vault TEXT NOT NULL COLLATE NOCASE REFERENCES copy_vaults,
        trades INTEGER NOT NULL, value TEXT NOT NULL, roi TEXT NOT NULL, drawdown TEXT NOT NULL
    )""",
    """copy_movements (
        transaction_hash TEXT NOT NULL COLLATE NOCASE, log_index INTEGER NOT NULL,
        vault TEXT NOT NULL COLLATE NOCASE REFERENCES copy_vaults,
        follower TEXT NOT NULL COLLATE NOCASE REFERENCES copy_users,
        change TEXT NOT NULL,
        PRIMARY KEY (transaction_hash, log_index)
    )""",
    """copy_subscriptions (
        vault TEXT NOT NULL COLLATE NOCASE REFERENCES copy_vaults,
        follower TEXT NOT NULL COLLATE NOCASE REFERENCES copy_users,
        amount TEXT NOT NULL,
        PRIMARY KEY (vault, follower)
    )""",
)
_INDEX: Final = "CREATE INDEX IF NOT EXISTS copy_trades_of_vault ON copy_trades (vault, block, log_index)"


@contextmanager
def connect() -> Iterator[sqlite3.Connection]:
    """A connection of the caller's own, without a transaction."""
    path = os.environ.get("EXAMPLE_DATABASE", "examples.sqlite3")
    with closing(sqlite3.connect(path, timeout=BUSY, isolation_level=None)) as db:
        db.execute("PRAGMA foreign_keys = ON")
        yield db


@contextmanager
def transaction() -> Iterator[sqlite3.Connection]:
    """All of the block or nothing. IMMEDIATE: what is read in it stays true until it is written."""
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
        for table in _TABLES:
            db.execute(f"CREATE TABLE IF NOT EXISTS {table}")
        db.execute(_INDEX)


def add_user(db: sqlite3.Connection, address: str) -> None:
    """A user who is there stays as they are: who leads a vault may follow others."""
    db.execute("INSERT INTO copy_users VALUES (?) ON CONFLICT DO NOTHING", (address,))


def add_vault(db: sqlite3.Connection, event: VaultCreated) -> bool:
    """Whether it is new; one that is there keeps what it has reached."""
    values = (event.address, event.leader, event.name, "ACTIVE", "0", NOTHING, NOTHING)
    added = db.execute("INSERT INTO copy_vaults VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", values)
    return added.rowcount == 1


def has_vault(db: sqlite3.Connection, address: str) -> bool:
    return db.execute("SELECT 1 FROM copy_vaults WHERE address = ?", (address,)).fetchone() is not None


def add_trade(db: sqlite3.Connection, trade: Traded) -> bool:
    """Whether it is new, by its transaction."""
    values = (
        trade.transaction_hash, trade.vault, trade.block, trade.log_index, trade.token_in, trade.token_out,
        trade.amount_in, trade.amount_out, trade.value_before, trade.value_after,
    )  # fmt: skip
    added = db.execute("INSERT INTO copy_trades VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", values)
    return added.rowcount == 1


def values_of(db: sqlite3.Connection, vault: str) -> Iterator[tuple[int, int]]:
    """The vault's value before and after each of its trades, in the chain's order, whatever order they came in."""
    query = "SELECT value_before, value_after FROM copy_trades WHERE vault = ? ORDER BY block, log_index"
    for before, after in db.execute(query, (vault,)):
        yield int(before), int(after)


def store_snapshot(db: sqlite3.Connection, vault: str, transaction_hash: str, found: Performance) -> None:
    """The vault as it is now, and for its history as it was found after this trade."""
    # z: a loss too small for six places is no "-0.000000".
    values = (str(found.value), f"{found.roi:z.6f}", f"{found.drawdown:z.6f}")
    db.execute("UPDATE copy_vaults SET value = ?, roi = ?, drawdown = ? WHERE address = ?", (*values, vault))
    db.execute(
        "INSERT OR REPLACE INTO copy_snapshots VALUES (?, ?, ?, ?, ?, ?)",
        (transaction_hash, vault, found.trades, *values),
    )


def add_movement(db: sqlite3.Connection, event: Deposited | Withdrawn, change: int) -> bool:
    """Whether it is new, by its place on the chain: what is added to a sum must be known to be added once."""
    values = (event.transaction_hash, event.log_index, event.vault, event.follower, str(change))
    added = db.execute("INSERT INTO copy_movements VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", values)
    return added.rowcount == 1


def subscribed(db: sqlite3.Connection, vault: str, follower: str) -> int:
    """What the follower has in the vault; 0 without a subscription."""
    query = "SELECT amount FROM copy_subscriptions WHERE vault = ? AND follower = ?"
    row = db.execute(query, (vault, follower)).fetchone()
    return 0 if row is None else int(row[0])


def subscribe(db: sqlite3.Connection, vault: str, follower: str, amount: int) -> None:
    """Let the follower have this much in the vault; with 0 the subscription is over."""
    if amount == 0:
        db.execute("DELETE FROM copy_subscriptions WHERE vault = ? AND follower = ?", (vault, follower))
        return
    db.execute(
        "INSERT INTO copy_subscriptions VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET amount = excluded.amount",
        (vault, follower, str(amount)),
    )
