"""The jobs. Start a worker for them with ``jobcast worker --module examples.exchange_sync.jobs --no-shipped``.

They are plain functions, for SQLite and httpx' client block; each runs in a thread of its own.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from sqlite3 import Connection
from typing import Annotated, Any

import msgspec

from examples.exchange_sync import database
from examples.exchange_sync.client import ExchangeClient
from examples.exchange_sync.database import Account, connect
from examples.exchange_sync.queues import DEAD_LETTER
from jobcast import Batch, SyncContext, Unrecoverable, job

MOST_ACCOUNTS = 1000


class Accounts(msgspec.Struct, forbid_unknown_fields=True):
    accounts: Annotated[list[Account], msgspec.Meta(max_length=MOST_ACCOUNTS)]


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """For jobs that need no data."""


class Cleanup(msgspec.Struct, forbid_unknown_fields=True):
    days: Annotated[int, msgspec.Meta(ge=1)] = 30


class Quote(msgspec.Struct, forbid_unknown_fields=True):
    market: str


class Notice(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    user_id: str
    text: str


class Letter(msgspec.Struct, rename="camel"):
    """What a dead letter says of its job; there is more in it."""

    queue: str
    name: str
    data: Any
    error: str
    job_id: str


@job("orders", "sync", data=Account)
def sync(ctx: SyncContext) -> dict[str, int]:
    """Read what one user has ordered on one exchange since the last time."""
    return {"read": _read_orders(ctx, ctx.data, lambda percent: ctx.progress(percent, stage="orders"))}


@job("orders", "bulk-sync", data=Accounts)
def bulk_sync(ctx: SyncContext) -> dict[str, Any]:
    """The same for many, one after the other. Who fails here is synced by a job of their own, with its own attempts."""
    batch = Batch(ctx, requested=len(ctx.data.accounts), threshold=0)
    for account in ctx.data.accounts:
        failed = batch.failed
        with batch.sync_item(account):
            _read_orders(ctx, account, lambda _percent: ctx.check_cancelled())
        if batch.failed > failed:
            # Outside of the item: if this is not possible, this job is the one that fails and is tried again.
            ctx.submit("orders", "sync", msgspec.to_builtins(account), {"jobId": f"{ctx.job_id}-{account}"})
    return batch.result()


@job("orders", "cleanup", data=Cleanup)
def cleanup(ctx: SyncContext) -> dict[str, int]:
    with connect() as db:
        return {"removed": database.remove_orders(db, ctx.data.days)}


@job("prices", "update-all", data=Nothing)
def update_all(_ctx: SyncContext) -> dict[str, int]:
    return {"prices": _read_prices("")}


@job("api-calls", "quote", data=Quote)
def quote(ctx: SyncContext) -> dict[str, int]:
    """One price, for who cannot wait for all; the queue sees to it that the exchange is not asked too often."""
    return {"prices": _read_prices(ctx.data.market)}


@job("orders", "fetch-orders", data=Account)
def fetch_orders(ctx: SyncContext) -> dict[str, int]:
    """Child of ``aggregate-results``: how many orders there are."""
    _read_orders(ctx, ctx.data, lambda percent: ctx.progress(percent, stage="orders"))
    with connect() as db:
        return {"orders": database.count_orders(db, ctx.data)}


@job("balances", "fetch-balances", data=Account)
def fetch_balances(ctx: SyncContext) -> dict[str, dict[str, str]]:
    """Child of ``aggregate-results``: how much is held of each asset."""
    with connect() as db, ExchangeClient(_keyed(db, ctx.data).api_key) as exchange:
        balances = exchange.balances(ctx.data.exchange)
        database.store_balances(db, ctx.data, balances)
    return {"balances": {asset: str(amount) for asset, amount in balances.items()}}


@job("notifications", "aggregate-results", data=Account)
def aggregate_results(ctx: SyncContext) -> dict[str, Any]:
    """What the account is worth, told to its user; begins when both children are completed."""
    found: dict[str, Any] = {}
    for result in ctx.children().results.values():
        found |= result
    with connect() as db:
        worth, unpriced = _worth(found["balances"], database.read_prices(db))
        text = f"{ctx.data}: {found['orders']} orders, worth {worth:.2f} EUR"
        database.put_notice(db, ctx.job_id, ctx.data.user_id, text)
    return {"orders": found["orders"], "worth": f"{worth:.2f}", "unpriced": unpriced}


@job("notifications", "notify", data=Notice)
def notify(ctx: SyncContext) -> None:
    with connect() as db:
        database.put_notice(db, ctx.job_id, ctx.data.user_id, ctx.data.text)


def alert(ctx: SyncContext) -> dict[str, str]:
    """Of every dead letter: tell the user, or the operator where the job was nobody's own."""
    letter = ctx.data
    user = letter.data.get("userId", "operator") if isinstance(letter.data, dict) else "operator"
    text = f"{letter.name} of queue {letter.queue} failed for good: {letter.error}"
    # The id follows from the letter's: however often this runs, the user is told once.
    told = ctx.submit("notifications", "notify", {"userId": user, "text": text}, {"jobId": f"notify-{ctx.job_id}"})
    return {"notice": told.job_id}


# A letter has the name of its job.
for its_name in ("sync", "bulk-sync", "cleanup", "update-all", "quote", "fetch-orders", "fetch-balances"):
    job(DEAD_LETTER, its_name, data=Letter)(alert)


def _read_orders(ctx: SyncContext, account: Account, tell: Callable[[float], None]) -> int:
    """Read page after page, from where the last time ended; ``tell`` is called with the per cent after each.

    Raises:
        LockHeld: another job is at the same account; this one is tried again later.
    """
    with ctx.lock(f"lock:orders:{account}"), connect() as db:
        keyed = _keyed(db, account)
        read = keyed.orders_read
        with ExchangeClient(keyed.api_key) as exchange:
            while True:
                page = exchange.orders(account.exchange, after=read)
                read += len(page.orders)
                database.store_orders(db, account, page.orders, read)
                tell(100 * read / page.total if page.total else 100)
                if not page.orders or read >= page.total:
                    return read - keyed.orders_read


def _worth(balances: Mapping[str, str], prices: Mapping[str, Decimal]) -> tuple[Decimal, list[str]]:
    """In EUR, and the assets that have no price yet, which count for nothing."""
    prices = {"EUR-EUR": Decimal(1), **prices}
    known = {asset: prices[f"{asset}-EUR"] for asset in balances if f"{asset}-EUR" in prices}
    return sum((Decimal(balances[asset]) * known[asset] for asset in known), Decimal(0)), sorted(
        set(balances) - set(known)
    )


def _read_prices(market: str) -> int:
    with ExchangeClient() as exchange, connect() as db:
        prices = exchange.prices(market)
        database.store_prices(db, prices)
        return len(prices)


def _keyed(db: Connection, account: Account) -> database.Keyed:
    found = database.read_account(db, account)
    if found is None:
        raise Unrecoverable(f"expected an account that is in the database, got {account}")
    return found
