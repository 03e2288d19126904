"""The jobs of copy trading: ``jobcast worker --module examples.copy_trading.jobs --no-shipped``.

Queues keep no order among each other, so a trade may come before its vault and a withdrawal before its deposit: such a
job fails, and is tried again. Events may come twice, and jobs run twice: the database takes each event once.
"""

from typing import Any, Final

import msgspec

from examples.copy_trading import database
from examples.copy_trading.events import Address, Deposited, Hash, Traded, VaultCreated, Withdrawn
from examples.copy_trading.performance import performance
from jobcast import Backoff, ErrorRule, QueueDefinition, SyncContext, job, queue

CONCURRENCY: Final = {"trade": 5, "snapshot": 2, "vault": 2, "follower": 5}
# Six attempts, 0.5 s to 8 s apart: an event that builds on another one waits 15 s for it.
ATTEMPTS: Final = 6
BACKOFF: Final = Backoff("exponential", delay=500)
TIMEOUT: Final = 60.0


class NotYet(Exception):
    """What this event builds on has not been stored yet."""


for queue_name, at_once in CONCURRENCY.items():
    errors = (ErrorRule(NotYet, "not-yet", then="retry"),)  # all else is tried again as well, and logged as unknown
    queue(QueueDefinition(queue_name, concurrency=at_once, attempts=ATTEMPTS, backoff=BACKOFF, errors=errors))
database.create()


class TakeSnapshot(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The vault, and the trade after which it is looked at."""

    vault: Address
    transaction_hash: Hash


@job("vault", "create-vault", data=VaultCreated, timeout=TIMEOUT)
def create_vault(ctx: SyncContext) -> dict[str, Any]:
    """``{vault, fresh}``."""
    event: VaultCreated = ctx.data
    with database.transaction() as db:
        database.add_user(db, event.leader)
        fresh = database.add_vault(db, event)
    return {"vault": event.address, "fresh": fresh}


@job("trade", "record-trade", data=Traded, timeout=TIMEOUT)
def record_trade(ctx: SyncContext) -> dict[str, Any]:
    """``{fresh, snapshot}``, the id of the job that looks at the vault after it."""
    trade: Traded = ctx.data
    with database.transaction() as db:
        if not database.has_vault(db, trade.vault):
            raise NotYet(f"expected vault {trade.vault} to be created before its trades are recorded")
        fresh = database.add_trade(db, trade)
    ctx.progress(50, stage="recorded")
    # For a trade that is known as well: who recorded it may have died before this line.
    after = msgspec.to_builtins(TakeSnapshot(trade.vault, trade.transaction_hash))
    snapshot_id = f"snapshot-{trade.transaction_hash.lower()}"
    ctx.submit("snapshot", "take-snapshot", after, {"jobId": snapshot_id})
    return {"fresh": fresh, "snapshot": snapshot_id}


@job("snapshot", "take-snapshot", data=TakeSnapshot, timeout=TIMEOUT)
def take_snapshot(ctx: SyncContext) -> dict[str, Any]:
    """``{trades, value, roi, drawdown}`` of all trades known by now; the price is reading them all."""
    asked: TakeSnapshot = ctx.data
    with database.transaction() as db:
        found = performance(database.values_of(db, asked.vault))
        database.store_snapshot(db, asked.vault, asked.transaction_hash, found)
    return {name: str(value) for name, value in found._asdict().items()}


@job("follower", "deposit", data=Deposited, timeout=TIMEOUT)
def deposit(ctx: SyncContext) -> dict[str, Any]:
    """``{fresh, subscribed}``."""
    event: Deposited = ctx.data
    return _move(event, int(event.amount))


@job("follower", "withdraw", data=Withdrawn, timeout=TIMEOUT)
def withdraw(ctx: SyncContext) -> dict[str, Any]:
    """``{fresh, subscribed}``."""
    event: Withdrawn = ctx.data
    return _move(event, -int(event.amount))


def _move(event: Deposited | Withdrawn, change: int) -> dict[str, Any]:
    with database.transaction() as db:
        if not database.has_vault(db, event.vault):
            raise NotYet(f"expected vault {event.vault} to be created before it is followed")
        database.add_user(db, event.follower)
        fresh = database.add_movement(db, event, change)
        amount = database.subscribed(db, event.vault, event.follower) + (change if fresh else 0)
        if amount < 0:
            raise NotYet(f"expected {-amount} more to be deposited before {event.amount} are withdrawn")
        database.subscribe(db, event.vault, event.follower, amount)
    return {"fresh": fresh, "subscribed": str(amount)}
