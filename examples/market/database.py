"""The database: one SQLite file. Every method is one transaction, whole or not at all, and may be repeated.

Stakes are whole cents and times Unix milliseconds.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS markets (
    id TEXT PRIMARY KEY, question TEXT NOT NULL, pool INTEGER NOT NULL,
    outcome TEXT CHECK (outcome IN ('yes', 'no')),
    resolved_at INTEGER CHECK (resolved_at IS NULL OR outcome IS NOT NULL)
);
CREATE TABLE IF NOT EXISTS predictions (
    id TEXT PRIMARY KEY, market_id TEXT NOT NULL REFERENCES markets, side TEXT NOT NULL CHECK (side IN ('yes', 'no')),
    stake INTEGER NOT NULL CHECK (stake > 0),
    status TEXT NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'won', 'lost'))
);
CREATE INDEX IF NOT EXISTS predictions_by_market ON predictions (market_id);
CREATE TABLE IF NOT EXISTS webhook_endpoints (
    id TEXT PRIMARY KEY, url TEXT NOT NULL, secret TEXT NOT NULL, active INTEGER NOT NULL DEFAULT 1
);
CREATE TABLE IF NOT EXISTS webhook_deliveries (
    id TEXT PRIMARY KEY, endpoint_id TEXT NOT NULL REFERENCES webhook_endpoints,
    market_id TEXT NOT NULL REFERENCES markets, body TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'delivered', 'terminal')),
    attempts INTEGER NOT NULL DEFAULT 0, next_attempt_at INTEGER NOT NULL DEFAULT 0, last_error TEXT
);
CREATE INDEX IF NOT EXISTS deliveries_by_market ON webhook_deliveries (market_id, status);
CREATE TABLE IF NOT EXISTS backups (
    id TEXT PRIMARY KEY, path TEXT NOT NULL, sha256 TEXT NOT NULL, verified_at INTEGER, fault TEXT
);
CREATE TABLE IF NOT EXISTS reconciliations (
    id TEXT PRIMARY KEY, market_id TEXT, admin_address TEXT, ip TEXT, at INTEGER NOT NULL, faults TEXT NOT NULL
);
"""
BUSY_FOR: Final = 5.0
"""Seconds to wait for another writer; beyond, ``sqlite3.OperationalError``, and the job is tried again."""


@dataclass(frozen=True)
class Delivery:
    id: str
    endpoint_id: str
    body: str
    status: str
    attempts: int
    next_attempt_at: int


@dataclass(frozen=True)
class Endpoint:
    id: str
    url: str
    secret: str = field(repr=False)
    active: int


@dataclass(frozen=True)
class Backup:
    id: str
    path: str
    sha256: str


@dataclass(frozen=True)
class Resolution:
    """``fresh``: this call resolved the market; it had been resolved before otherwise."""

    fresh: bool
    won: int
    lost: int


class NotDecided(Exception):
    """Nobody has said yet how the market ended."""


class Database:
    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self) -> None:
        """Make the tables that are not there yet; ``sqlite3.OperationalError`` where there is no place for the file."""
        with self._connected() as db:
            # Refused at once while another process that starts does the same; the mode is the file's: once is enough.
            with suppress(sqlite3.OperationalError):
                db.execute("PRAGMA journal_mode = WAL")
            db.executescript(SCHEMA)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything in the block or nothing. It writes from its start, so that two can never wait for each other."""
        with self._connected() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.rollback()
                raise
            db.execute("COMMIT")

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, timeout=BUSY_FOR, isolation_level=None)) as db:
            db.execute("PRAGMA foreign_keys = ON")
            yield db

    def _row(self, query: str, *values: Any) -> Any:
        with self._connected() as db:
            return db.execute(query, values).fetchone()

    def resolve(self, market_id: str, now: int) -> Resolution | None:
        """Decide every prediction of a market and note a delivery for every endpoint; None if there is no such market.

        Raises:
            NotDecided: its outcome is not known yet.
        """
        with self.transaction() as db:
            market = db.execute("SELECT outcome FROM markets WHERE id = ?", (market_id,)).fetchone()
            if market is None:
                return None
            (outcome,) = market
            if outcome is None:
                raise NotDecided(f"market {market_id} has no outcome yet")
            resolving = "UPDATE markets SET resolved_at = ? WHERE id = ? AND resolved_at IS NULL"
            fresh = db.execute(resolving, (now, market_id)).rowcount == 1
            if fresh:
                deciding = "UPDATE predictions SET status = iif(side = ?, 'won', 'lost') WHERE market_id = ?"
                db.execute(deciding, (outcome, market_id))
            counting = "SELECT count(*) FILTER (WHERE status = 'won'), count(*) FROM predictions WHERE market_id = ?"
            won, all_ = db.execute(counting, (market_id,)).fetchone()
            if fresh:
                told = {"event": "market.resolved", "marketId": market_id, "outcome": outcome, "resolvedAt": now}
                _note_deliveries(db, market_id, {**told, "won": won, "lost": all_ - won})
        return Resolution(fresh, won, all_ - won)

    def pending_deliveries(self, market_id: str) -> list[str]:
        with self._connected() as db:
            query = "SELECT id FROM webhook_deliveries WHERE market_id = ? AND status = 'pending' ORDER BY id"
            return [id_ for (id_,) in db.execute(query, (market_id,))]

    def delivery(self, delivery_id: str) -> Delivery | None:
        query = "SELECT id, endpoint_id, body, status, attempts, next_attempt_at FROM webhook_deliveries WHERE id = ?"
        row = self._row(query, delivery_id)
        return None if row is None else Delivery(*row)

    def endpoint(self, endpoint_id: str) -> Endpoint | None:
        row = self._row("SELECT id, url, secret, active FROM webhook_endpoints WHERE id = ?", endpoint_id)
        return None if row is None else Endpoint(*row)

    def record_try(
        self, delivery: Delivery, status: str, error: str | None = None, next_attempt_at: int | None = None
    ) -> None:
        """What became of one more try; nothing if another was recorded since ``delivery`` was read."""
        with self.transaction() as db:
            db.execute(
                "UPDATE webhook_deliveries SET status = ?, attempts = attempts + 1, last_error = ?,"
                " next_attempt_at = coalesce(?, next_attempt_at) WHERE id = ? AND status = 'pending' AND attempts = ?",
                (status, error, next_attempt_at, delivery.id, delivery.attempts),
            )

    def backup(self, backup_id: str) -> Backup | None:
        row = self._row("SELECT id, path, sha256 FROM backups WHERE id = ?", backup_id)
        return None if row is None else Backup(*row)

    def record_verification(self, backup_id: str, now: int, fault: str | None) -> None:
        with self.transaction() as db:
            db.execute("UPDATE backups SET verified_at = ?, fault = ? WHERE id = ?", (now, fault, backup_id))

    def reconcile(self, id_: str, now: int, market_id: str | None, admin: str | None, ip: str | None) -> list[str]:
        """Compare the books of one market, or of all, write down what was found under this id and give it back."""
        with self.transaction() as db:
            query = (
                "SELECT m.id, m.pool, coalesce(sum(p.stake), 0), m.resolved_at IS NOT NULL,"
                " count(p.id) FILTER (WHERE p.status = 'open')"
                " FROM markets m LEFT JOIN predictions p ON p.market_id = m.id"
                " WHERE m.id = coalesce(?, m.id) GROUP BY m.id ORDER BY m.id"
            )
            faults = [fault for row in db.execute(query, (market_id,)) for fault in _faults(*row)]
            db.execute(
                "INSERT OR REPLACE INTO reconciliations VALUES (?, ?, ?, ?, ?, ?)",
                (id_, market_id, admin, ip, now, json.dumps(faults)),
            )
        return faults


def _note_deliveries(db: sqlite3.Connection, market_id: str, told: dict[str, Any]) -> None:
    for (endpoint_id,) in db.execute("SELECT id FROM webhook_endpoints WHERE active ORDER BY id").fetchall():
        delivery_id = f"{market_id}-{endpoint_id}"
        body = json.dumps({"deliveryId": delivery_id, **told}, separators=(",", ":"))
        adding = "INSERT INTO webhook_deliveries (id, endpoint_id, market_id, body) VALUES (?, ?, ?, ?)"
        db.execute(adding, (delivery_id, endpoint_id, market_id, body))


def _faults(market_id: str, pool: int, staked: int, resolved: int, open_: int) -> Iterator[str]:
    if pool != staked:
        yield f"market {market_id}: the pool holds {pool} cents, its predictions {staked}"
    if resolved and open_:
        yield f"market {market_id}: resolved, with {open_} predictions open"
