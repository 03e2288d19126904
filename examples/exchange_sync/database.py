"""The database: one SQLite file, named by ``EXAMPLE_DATABASE``.

What a job writes here it may write twice: rows have keys of the outside world's own, and what was read so far moves on
in the same transaction as the rows. Amounts and prices are text: a float would not keep them.
"""

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from decimal import Decimal
from typing import Annotated

import msgspec

from examples.exchange_sync.client import Order

SCHEMA = """
CREATE TABLE IF NOT EXISTS exchange_accounts (
    user TEXT NOT NULL, exchange TEXT NOT NULL, api_key TEXT NOT NULL, premium INTEGER NOT NULL DEFAULT 0,
    orders_read INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (user, exchange)
);
CREATE TABLE IF NOT EXISTS exchange_orders (
    exchange TEXT NOT NULL, id TEXT NOT NULL, user TEXT NOT NULL, market TEXT NOT NULL, side TEXT NOT NULL,
    amount TEXT NOT NULL, price TEXT NOT NULL, placed_at INTEGER NOT NULL,
    PRIMARY KEY (exchange, id)
);
CREATE TABLE IF NOT EXISTS exchange_balances (
    user TEXT NOT NULL, exchange TEXT NOT NULL, asset TEXT NOT NULL, amount TEXT NOT NULL,
    PRIMARY KEY (user, exchange, asset)
);
CREATE TABLE IF NOT EXISTS exchange_prices (market TEXT PRIMARY KEY, price TEXT NOT NULL, at INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS exchange_notices (id TEXT PRIMARY KEY, user TEXT NOT NULL, text TEXT NOT NULL);
"""
BUSY_FOR = 10.0
"""Seconds to wait for another writer; beyond, ``sqlite3.OperationalError``, and the job is tried again."""


class Account(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """One user on one exchange: the data of most jobs. Its text is part of ids, and no other account's."""

    user_id: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,40}\Z")]
    exchange: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]{1,20}\Z")]

    def __str__(self) -> str:
        return f"{self.user_id}-{self.exchange}"


class Keyed(msgspec.Struct, frozen=True):
    """What the exchange is asked with, and how many orders were read from it so far."""

    api_key: str
    orders_read: int


@contextmanager
def connect() -> Iterator[sqlite3.Connection]:
    """A connection with explicit transactions; tables that are not there yet are made."""
    path = os.environ.get("EXAMPLE_DATABASE", "examples.sqlite3")
    db = sqlite3.connect(path, timeout=BUSY_FOR, isolation_level=None)
    try:
        # Refused at once while another process that starts does the same; the mode is the file's, so once is enough.
        with suppress(sqlite3.OperationalError):
            db.execute("PRAGMA journal_mode = WAL")
        db.executescript(SCHEMA)
        yield db
    finally:
        db.close()


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of the block or nothing."""
    # IMMEDIATE: one that read first and wanted to write later would be refused without any wait.
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def put_account(db: sqlite3.Connection, account: Account, api_key: str, *, premium: bool = False) -> None:
    """Add an account, or give it another key."""
    db.execute(
        "INSERT INTO exchange_accounts (user, exchange, api_key, premium) VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET api_key = excluded.api_key, premium = excluded.premium",
        (account.user_id, account.exchange, api_key, premium),
    )


def read_account(db: sqlite3.Connection, account: Account) -> Keyed | None:
    found = db.execute(
        "SELECT api_key, orders_read FROM exchange_accounts WHERE user = ? AND exchange = ?",
        (account.user_id, account.exchange),
    ).fetchone()
    return None if found is None else Keyed(*found)


def store_orders(db: sqlite3.Connection, account: Account, orders: Iterable[Order], read: int) -> None:
    """Store a page, and that so many orders were ``read`` now; twice is once."""
    with transaction(db):
        db.executemany(
            "INSERT INTO exchange_orders VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET amount = excluded.amount, price = excluded.price",
            [
                (account.exchange, o.id, account.user_id, o.market, o.side, str(o.amount), str(o.price), o.placed_at)
                for o in orders
            ],
        )
        db.execute(
            "UPDATE exchange_accounts SET orders_read = max(orders_read, ?) WHERE user = ? AND exchange = ?",
            (read, account.user_id, account.exchange),
        )


def count_orders(db: sqlite3.Connection, account: Account) -> int:
    (count,) = db.execute(
        "SELECT count(*) FROM exchange_orders WHERE user = ? AND exchange = ?", (account.user_id, account.exchange)
    ).fetchone()
    return int(count)


def remove_orders(db: sqlite3.Connection, days: int) -> int:
    """Forget orders placed more than so many days ago; how many those were."""
    before = int((time.time() - days * 24 * 3600) * 1000)
    return db.execute("DELETE FROM exchange_orders WHERE placed_at < ?", (before,)).rowcount


def store_balances(db: sqlite3.Connection, account: Account, balances: Mapping[str, Decimal]) -> None:
    """Store what the account holds now, in place of what it held."""
    with transaction(db):
        db.execute("DELETE FROM exchange_balances WHERE user = ? AND exchange = ?", (account.user_id, account.exchange))
        db.executemany(
            "INSERT INTO exchange_balances VALUES (?, ?, ?, ?)",
            [(account.user_id, account.exchange, asset, str(amount)) for asset, amount in balances.items()],
        )


def store_prices(db: sqlite3.Connection, prices: Mapping[str, Decimal]) -> None:
    now = int(time.time() * 1000)
    with transaction(db):
        db.executemany(
            "INSERT INTO exchange_prices VALUES (?, ?, ?)"
            " ON CONFLICT DO UPDATE SET price = excluded.price, at = excluded.at",
            [(market, str(price), now) for market, price in prices.items()],
        )


def read_prices(db: sqlite3.Connection) -> dict[str, Decimal]:
    return {market: Decimal(price) for market, price in db.execute("SELECT market, price FROM exchange_prices")}


def put_notice(db: sqlite3.Connection, notice_id: str, user: str, text: str) -> None:
    """Leave a user a notice, where a mail would be sent; one of an id that is there stays as it is."""
    db.execute("INSERT INTO exchange_notices VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (notice_id, user, text))
