"""Sample data, the same for the same seed, and the jobs that work on it.

python -m examples.market.sample [SEED]
"""

import hashlib
import os
import random
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Final

from examples.market.database import Database
from examples.market.payloads import Payload, ReconcileAll, ReconcileMarket, ResolveMarket, VerifyBackup, job_for
from examples.market.receiver import PORT, SECRET
from examples.market.services import Services
from jobcast import JobcastError, SyncProducer

PREDICTIONS: Final = 1000
ADMIN: Final = "0x00000000000000000000000000000000000000ad"


def fill(database: Database, receiver: str, seed: int = 7, secret: str = SECRET) -> list[Payload]:
    """Write endpoints, markets, predictions and backups, where they are not there yet; gives the jobs to add.

    There are two markets: ``rain`` is decided, and the books of ``snow`` do not agree. Of two backups one is cut off.
    """
    random_ = random.Random(seed)
    rain, snow = f"rain-{seed}", f"snow-{seed}"
    with database.transaction() as db:
        for endpoint in ("fine", "flaky", "broken"):
            add_endpoint(db, endpoint, f"{receiver}/{endpoint}", secret)
        for market in (rain, snow):
            stakes = [random_.randint(100, 100_000) for _ in range(PREDICTIONS)]
            add_market(db, market, "yes" if market == rain else None, stakes, random_, lost=int(market == snow))
    whole, broken = f"whole-{seed}", f"broken-{seed}"
    # One that is noted stays: a job may be reading the file, or have written down what it found.
    if database.backup(whole) is None:
        add_backup(database, whole)
    if database.backup(broken) is None:
        path = add_backup(database, broken)
        path.write_bytes(path.read_bytes()[:-512])
    asked = ReconcileMarket(snow, ADMIN, "127.0.0.1", f"asked-{seed}")
    return [ResolveMarket(rain), VerifyBackup(whole), VerifyBackup(broken), ReconcileAll(), asked]


def add_endpoint(db: sqlite3.Connection, id_: str, url: str, secret: str) -> None:
    """Add an endpoint, or move one that is there to this address."""
    adding = "INSERT INTO webhook_endpoints (id, url, secret) VALUES (?, ?, ?)"
    db.execute(f"{adding} ON CONFLICT DO UPDATE SET url = excluded.url, secret = excluded.secret", (id_, url, secret))


def add_market(  # noqa: PLR0913  a market's columns
    db: sqlite3.Connection, id_: str, outcome: str | None, stakes: list[int], random_: random.Random, *, lost: int = 0
) -> None:
    """Add a market with a prediction for each stake, on a side drawn for it; ``lost`` cents are not in its pool."""
    adding = "INSERT INTO markets (id, question, pool, outcome) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
    if db.execute(adding, (id_, f"Will there be {id_}?", sum(stakes) - lost, outcome)).rowcount:
        drawn = [(f"{id_}-{n}", id_, random_.choice(("yes", "no")), stake) for n, stake in enumerate(stakes)]
        db.executemany("INSERT INTO predictions (id, market_id, side, stake) VALUES (?, ?, ?, ?)", drawn)


def add_backup(database: Database, id_: str) -> Path:
    """Copy the database to a file beside it and note its digest."""
    path = database.path.with_suffix(f".{id_}.sqlite3")
    with closing(sqlite3.connect(database.path)) as db, closing(sqlite3.connect(path)) as copy:
        db.backup(copy)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with database.transaction() as db:
        db.execute("INSERT OR REPLACE INTO backups (id, path, sha256) VALUES (?, ?, ?)", (id_, str(path), digest))
    return path


def main(seed: int) -> None:
    """Fill the database of the environment and add the jobs."""
    database = Services.from_environment().database
    database.create()
    asked = fill(database, os.environ.get("EXAMPLE_RECEIVER", f"http://127.0.0.1:{PORT}"), seed)
    with SyncProducer.connect() as jobs:
        for payload in asked:
            submitted = jobs.submit(*job_for(payload))
            again = "" if submitted.fresh else " (it was there already)"
            print(f"{payload.queue}: {submitted.job_id}{again}")
    print(f"Watch one:  jobcast tail resolve-rain-{seed}")
    print("Watch the webhooks it sends:  jobcast tail --queue webhook-deliveries")


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
    except JobcastError as error:
        sys.exit(f"sample: {error}")
