"""The jobs of wallet analysis. A worker is started with this module: its queues are those of ``queues.toml``."""

import sqlite3
import time
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from examples.wallet_analysis import analysis, chain, database
from examples.wallet_analysis.flows import ANALYSIS, ENRICHMENT, SIMILARITY, WALLETS, job_id
from examples.wallet_analysis.payloads import Comparison, Enrichment, OfWallet, Rules
from jobcast import (
    COMMON_ERRORS,
    BadData,
    Batch,
    DependencyNotReady,
    ErrorRule,
    SyncContext,
    Unrecoverable,
    job,
    queue,
    read_definitions,
)

FRESH_MS: Final = 600_000
"""An analysis that is younger is not made again, unless it is forced."""
MOST_PAIRS: Final = 100
"""Pairs that a comparison lists, the most alike first; all are counted."""
LONGEST_REASON: Final = 100
"""Characters a comparison shows of why a wallet failed; its own job has the rest."""
ERRORS: Final = (ErrorRule(DependencyNotReady, "waits-for-a-job", then="later", after=5), *COMMON_ERRORS)
HOUR_MS: Final = 3_600_000
Compute = Callable[[list[database.Trade]], dict[str, Any]]

_TABLES: Final = tomllib.loads(Path(__file__).with_name("queues.toml").read_text())
QUEUES: Final = {each.name: queue(replace(each, errors=ERRORS)) for each in read_definitions(_TABLES)}


@job(WALLETS, "sync-wallet", data=OfWallet)
def sync_wallet(ctx: SyncContext) -> dict[str, Any]:
    """Read the trades that are new. One that was cut off goes on where it was: what it stored stands."""
    wallet = _wallet_of(ctx, "sync")
    with ctx.lock(f"lock:wallet:{wallet}:sync"), database.connected() as db, chain.connected() as service:
        have = had = database.count_trades(db, wallet)
        while True:
            trades, total = service.trades(wallet, have)
            with database.transaction(db):
                database.add_trades(db, wallet, trades)
                have = database.count_trades(db, wallet)
            ctx.progress(100 * have / max(total, 1), "reading trades")
            if have >= total or not trades:
                break
        database.mark_synced(db, wallet, _now())
    return {"wallet": wallet, "trades": have, "new": have - had}


@job(WALLETS, "fetch-balance", data=OfWallet)
def fetch_balance(ctx: SyncContext) -> dict[str, Any]:
    wallet = _wallet_of(ctx, "balance")
    with ctx.lock(f"lock:wallet:{wallet}:balance"), database.connected() as db, chain.connected() as service:
        balances = service.balances(wallet)
        with database.transaction(db):
            database.replace_balances(db, wallet, balances)
    return {"wallet": wallet, "tokens": len(balances)}


@job(ANALYSIS, "analyze-pnl", data=OfWallet)
def analyze_pnl(ctx: SyncContext) -> dict[str, Any]:
    return _analyze(ctx, _wallet_that_is_read(ctx, "pnl"), "pnl", analysis.profit_and_loss)


@job(ANALYSIS, "analyze-behavior", data=OfWallet)
def analyze_behavior(ctx: SyncContext) -> dict[str, Any]:
    return _analyze(ctx, _wallet_that_is_read(ctx, "behavior"), "behavior", analysis.behavior)


@job(ANALYSIS, "dashboard-wallet-analysis", data=OfWallet)
def analyze_for_dashboard(ctx: SyncContext) -> dict[str, Any]:
    """Put together what a person waits for; the wallet was read by the children."""
    wallet = _wallet_of(ctx, "dashboard")
    found = {
        "pnl": _analyze(ctx, wallet, "pnl", analysis.profit_and_loss, (0, 50)),
        "behavior": _analyze(ctx, wallet, "behavior", analysis.behavior, (50, 100)),
    }
    with database.connected() as db:
        balances = database.balances_of(db, wallet)
    return {"wallet": wallet, **found, "tokensHeld": len(balances), "enrichmentJob": _enrich_later(ctx, [wallet])}


@job(SIMILARITY, "calculate-similarity", data=Comparison)
def calculate_similarity(ctx: SyncContext) -> dict[str, Any]:
    """Compare the wallets whose analyses, the children, were completed.

    Raises:
        TooManyFailed: fewer of them than the threshold asks for.
    """
    data: Comparison = ctx.data
    rules = data.rules
    with ctx.lock(f"lock:similarity:{data.request}"), database.connected() as db:
        children = ctx.children()
        judged = Batch.of(children, threshold=rules.threshold).result()
        failed = {child.split("_")[1]: error[:LONGEST_REASON] for child, error in children.failures.items()}
        processed = [wallet for wallet in data.wallets if wallet not in failed]
        ctx.progress(20, "comparing")
        vectors = {}
        for wallet in processed:
            ctx.check_cancelled()
            trades = database.trades_of(db, wallet, rules.since, rules.until)
            vectors[wallet] = analysis.vector(trades, rules.vector, rules.excluded)
        pairs = analysis.compare(vectors, rules.min_shared)
        ctx.progress(70, "enriching")
        enrichment = _enrich_as_asked(ctx, db, processed, rules)
    return {
        "requested": [*data.wallets, *data.invalid, *data.system],
        "processed": processed,
        "failed": failed,
        "invalid": data.invalid,
        "system": data.system,
        "rate": judged["rate"],
        "took": _now() - data.asked,
        "enrichmentJob": enrichment,
        "compared": len(pairs),
        "pairs": pairs[:MOST_PAIRS],
    }


@job(ENRICHMENT, "enrich-token-balances", data=Enrichment)
def enrich_token_balances(ctx: SyncContext) -> dict[str, Any]:
    """Learn names and prices of the wallets' tokens, by batches. Tried again, it goes on with those that are left."""
    data: Enrichment = ctx.data
    with database.connected() as db, chain.connected() as service:
        batches = chain.batches(database.tokens_without_price(db, data.wallets, _now() - HOUR_MS), data.batch_size)
        for done, batch in enumerate(batches, start=1):
            _learn(db, service, batch)
            ctx.progress(100 * done / len(batches), "enriching")
    return {"tokens": sum(map(len, batches)), "batches": len(batches)}


def _enrich_as_asked(ctx: SyncContext, db: sqlite3.Connection, wallets: list[str], rules: Rules) -> str | None:
    """Enrich what a comparison is about; the id of the job that does, or does the rest, where there is one."""
    if rules.enrichment != "background":
        batches = chain.batches(database.tokens_without_price(db, wallets, _now() - HOUR_MS), rules.batch_size)
        with chain.connected() as service:
            for batch in batches[:1] if rules.enrichment == "hybrid" else batches:
                ctx.check_cancelled()
                _learn(db, service, batch)
    return None if rules.enrichment == "sync" else _enrich_later(ctx, wallets, rules.batch_size)


def _enrich_later(ctx: SyncContext, wallets: list[str], batch_size: int = 20) -> str:
    """Nobody waits for it. The id is this job's own: one that runs again adds no second."""
    data = {"request": ctx.data.request, "asked": ctx.data.asked, "wallets": wallets, "batchSize": batch_size}
    opts = {"jobId": f"enrich_{ctx.job_id}", "priority": "low"}
    return ctx.submit(ENRICHMENT, "enrich-token-balances", data, opts).job_id


def _learn(db: sqlite3.Connection, service: chain.Chain, tokens: list[str]) -> None:
    found = service.tokens(tokens)
    with database.transaction(db):
        database.store_tokens(db, found, _now())


def _analyze(
    ctx: SyncContext, wallet: str, kind: str, compute: Compute, scale: tuple[float, float] = (0, 100)
) -> dict[str, Any]:
    """Analyse one wallet and store the result; ``scale``: the part of the job's progress that this is.

    Each call of ``ctx`` ends the attempt once its time is over. The last stands before the commit: an attempt that
    is over stores nothing.
    """
    low, high = scale

    def reached(percent: float, stage: str) -> None:
        ctx.progress(low + (high - low) * percent / 100, stage)

    with ctx.lock(f"lock:analysis:{wallet}:{kind}"), database.connected() as db:
        reached(5, f"{kind}: looking for an analysis")
        known = database.analysis_of(db, wallet, kind)
        if known is not None and _now() - known[1] < FRESH_MS and not ctx.data.force:
            return {**known[0], "skipped": True}
        reached(20, f"{kind}: reading trades")
        result = compute(database.trades_of(db, wallet))
        reached(90, f"{kind}: storing")
        with database.transaction(db):
            database.store_analysis(db, wallet, kind, result, _now())
            ctx.check_cancelled()
        reached(100, f"{kind}: stored")
    return result


def _wallet_that_is_read(ctx: SyncContext, kind: str) -> str:
    """The wallet of an analysis, once it has what it depends on: a job it names, or its child in a flow.

    Raises:
        DependencyNotReady: the job it names is not completed: it is tried again.
        Unrecoverable: its child failed for good.
    """
    wallet = _wallet_of(ctx, kind)
    if ctx.data.depends_on is not None:
        ctx.require(ctx.data.depends_on)
    if failures := ctx.children().failures:
        raise Unrecoverable(f"the wallet was not read: {next(iter(failures.values()))}")
    return wallet


def _wallet_of(ctx: SyncContext, kind: str) -> str:
    """The wallet of a job whose id is that of its data: one under another id would be done twice."""
    data: OfWallet = ctx.data
    expected = job_id(kind, data.wallet, data.request, data.asked)
    if ctx.job_id != expected:
        raise BadData(f"expected job id {expected}, got {ctx.job_id}")
    return data.wallet


def _now() -> int:
    return time.time_ns() // 1_000_000
