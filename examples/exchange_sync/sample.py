"""Sample accounts and jobs, the same for the same seed: ``python -m examples.exchange_sync.sample [--seed N]``.

The jobs and schedules go to Redis at ``JOBCAST_REDIS_URL``, the accounts into the database.
"""

import argparse
import random
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from examples.exchange_sync import database, schedules
from examples.exchange_sync.database import Account
from examples.exchange_sync.exchange import MARKETS, REVOKED
from jobcast import JobcastError, SyncProducer

USERS = 12
QUOTES_OF_EACH = 8


def accounts(seed: int, users: int = USERS) -> dict[Account, tuple[str, bool]]:
    """Key and premium of each account; the last one's key was revoked."""
    chance = random.Random(seed)
    made = {}
    for n in range(1, users + 1):
        key = f"{REVOKED if n == users else ''}{chance.getrandbits(64):016x}"
        made[Account(f"user{n}", chance.choice(["alpha", "beta"]))] = (key, n % 4 == 0)
    return made


def portfolio(account: Account) -> dict[str, Any]:
    """The flow: what an account holds and is worth, once its orders and balances are here."""
    data = msgspec.to_builtins(account)
    opts = {"failParentOnFailure": True}
    return {
        "queue": "notifications",
        "name": "aggregate-results",
        "data": data,
        "children": [
            {"queue": "orders", "name": "fetch-orders", "data": data, "opts": {**opts, "weight": 3}},
            {"queue": "balances", "name": "fetch-balances", "data": data, "opts": opts},
        ],
    }


def submit(jobs: SyncProducer, everybody: list[Account]) -> None:
    """One of each kind, and what a person may watch of it."""
    one, other, *_ = everybody
    for account in everybody:
        # Of one account a second sync is skipped while the first waits, runs or is delayed.
        once = {"deduplication": {"id": f"sync-{account}"}}
        print(f"sync {account}: {jobs.submit('orders', 'sync', msgspec.to_builtins(account), once).job_id}")
    bulk = jobs.submit("orders", "bulk-sync", {"accounts": msgspec.to_builtins(everybody)})
    print(f"bulk-sync: {bulk.job_id}")
    print(f"update-all: {jobs.submit('prices', 'update-all').job_id}")
    print(f"cleanup: {jobs.submit('orders', 'cleanup', {'days': 30}).job_id}")
    markets = sorted(MARKETS) * QUOTES_OF_EACH
    jobs.submit_many("api-calls", [{"name": "quote", "data": {"market": market}} for market in markets])
    print("quotes: see queue api-calls, 10 a second")
    soon = (datetime.now(UTC) + timedelta(seconds=30)).isoformat()
    data = msgspec.to_builtins(other)
    print(f"sync in 10 s: {jobs.submit('orders', 'sync', data, {'delay': 10_000}).job_id}")
    print(f"sync at {soon}: {jobs.submit('orders', 'sync', data, {'delayUntil': soon}).job_id}")
    print(f"portfolio of {one}: {jobs.submit_flow(portfolio(one)).job_id}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Submit a sample of everything to a running system.")
    parser.add_argument("--seed", type=int, default=7)
    made = accounts(parser.parse_args().seed)
    with database.connect() as db:
        for account, (key, premium) in made.items():
            database.put_account(db, account, key, premium=premium)
    with SyncProducer.connect() as jobs:
        submit(jobs, list(made))
        for account, (_, premium) in made.items():
            schedules.plan(jobs, account, premium=premium)
    print("planned: a sync of each account every hour; see: jobcast schedule list orders")
    print("next: jobcast tail --queue orders; jobcast queue list; jobcast dead-letters list")


if __name__ == "__main__":
    try:
        main()
    except JobcastError as error:
        sys.exit(f"sample: {error}")
