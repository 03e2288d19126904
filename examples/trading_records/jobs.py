"""The jobs of the records: ``jobcast worker --module examples.trading_records.jobs --no-shipped``.

A job may run twice, and two jobs about one record in either order: the database keeps the newest version of each.
"""

import time
from typing import Any, Final

from examples.trading_records import chain, database
from examples.trading_records.records import BalanceSnapshot, HistoricalSwap, Record, Transaction
from jobcast import Backoff, QueueDefinition, Repeat, SyncContext, job, queue, schedule

QUEUE: Final = "database-writes"
TIMEOUT: Final = 60.0

queue(QueueDefinition(QUEUE, concurrency=5, attempts=3, backoff=Backoff("exponential", delay=500)))
# Each worker that starts makes it, and it is one: `jobcast schedule remove database-writes hourly-snapshot` ends it.
schedule(QUEUE, "hourly-snapshot", "capture-balance-snapshot", repeat=Repeat(every=chain.HOUR_MS))
database.create()


@job(QUEUE, "write-transaction", data=Transaction, timeout=TIMEOUT)
def write_transaction(ctx: SyncContext) -> dict[str, Any]:
    """``{id, stands}``: whether this version is the one the database has now."""
    return _write(ctx.data)


@job(QUEUE, "write-historical-swap", data=HistoricalSwap, timeout=TIMEOUT)
def write_historical_swap(ctx: SyncContext) -> dict[str, Any]:
    """``{id, stands}``."""
    return _write(ctx.data)


@job(QUEUE, "capture-balance-snapshot", data=BalanceSnapshot, timeout=TIMEOUT)
def capture_balance_snapshot(ctx: SyncContext) -> dict[str, Any]:
    """``{wallets}``, how many were captured. One that cannot be read fails the job when the others are done."""
    asked: BalanceSnapshot = ctx.data
    if asked.agent_id is not None and asked.wallet is not None:
        wanted = [(asked.agent_id, asked.wallet)]
    else:
        with database.connect() as db:
            wanted = database.agents(db)
    at, lost = time.time_ns() // 1_000_000, []
    for done, (agent, wallet) in enumerate(wanted, start=1):
        ctx.check_cancelled()
        try:
            found = chain.balances(wallet, at)
        except LookupError as error:
            ctx.log(str(error), level="error")
            lost.append(wallet)
        else:
            with database.transaction() as db:
                database.write_balances(db, ctx.job_id, (agent, wallet), found, at)
        ctx.progress(100 * done / len(wanted), stage=agent)
    if lost:
        raise LookupError(f"{len(wanted) - len(lost)} of {len(wanted)} wallets captured; not read: {', '.join(lost)}")
    return {"wallets": len(wanted)}


def _write(record: Record) -> dict[str, Any]:
    with database.transaction() as db:
        stands = database.write(db, record)
    return {"id": record.id, "stands": stands}
