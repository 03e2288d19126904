"""A trading program and its trades, the same for the same seed: ``python -m examples.trading_records.sample [SEED]``.

Its jobs go to the Redis of ``JOBCAST_REDIS_URL``. Prices are made up; the program trades with nobody.
"""

import asyncio
import random
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from examples.trading_records import database
from examples.trading_records.recorder import MORE_ATTEMPTS, QUEUE, Recorder
from examples.trading_records.records import HistoricalSwap, Transaction
from jobcast import JobcastError, Producer

SEED: Final = 7
AGENTS: Final = {"momentum": "wallet-1", "reversal": "wallet-2", "patience": "wallet-3"}
TRADES: Final = 20
BEGIN: Final = datetime(2026, 1, 1, tzinfo=UTC)
SOL_USD: Final = Decimal(150)
Trade = tuple[Transaction, Transaction, HistoricalSwap]


def trades(seed: int = SEED) -> Iterator[Trade]:
    """A purchase, a sale, and the closed trade they make."""
    chance = random.Random(seed)
    for number in range(TRADES):
        agent, wallet = chance.choice(list(AGENTS.items()))
        amount, bought = Decimal(chance.randint(1, 10**9)) / 10**6, Decimal(chance.randint(1, 10**6)) / 10**8
        sold = bought * chance.randint(80, 140) / 100
        begin = BEGIN + timedelta(hours=number)
        yield _trade(f"{seed}-{number}", agent, wallet, (amount, bought, sold), begin)


def _trade(name: str, agent: str, wallet: str, sums: tuple[Decimal, Decimal, Decimal], begin: datetime) -> Trade:
    amount, bought, sold = sums
    end, profit = begin + timedelta(minutes=30), amount * (sold - bought)
    whose: dict[str, Any] = {"agent_id": agent, "wallet": wallet, "token": "BONK", "amount": _text(amount)}
    how: dict[str, Any] = {"version": 1, "fee": "0.002", "status": "confirmed"}
    buy = Transaction(id=f"buy-{name}", side="buy", price=_text(bought), executed_at=begin, **whose, **how)
    sell = Transaction(id=f"sell-{name}", side="sell", price=_text(sold), executed_at=end, **whose, **how)
    swap = HistoricalSwap(
        id=f"swap-{name}",
        version=1,
        purchase_price=_text(bought),
        sale_price=_text(sold),
        change_percent=_text((100 * (sold / bought - 1)).quantize(Decimal("0.0001"))),
        profit_usd=_text(profit),
        profit_sol=_text((profit / SOL_USD).quantize(Decimal("1e-12"))),
        purchased_at=begin,
        sold_at=end,
        purchase_transaction=buy.id,
        signal="breakout" if sold > bought else None,
        close_reason="target reached" if sold > bought else "stopped out",
        **whose,
    )
    return buy, sell, swap


def _text(number: Decimal) -> str:
    return f"{number:f}"


async def main(seed: int) -> None:
    database.create()
    with database.transaction() as db:
        for agent, wallet in AGENTS.items():
            database.add_agent(db, agent, wallet)
    async with Producer.connect() as jobs:
        recorder, added = Recorder(jobs), []
        for buy, sell, swap in trades(seed):
            added += [await recorder.record(buy), await recorder.record(sell)]
            added.append(await recorder.record(swap, MORE_ATTEMPTS))
        if None in added:
            sys.exit("sample: some trades were not recorded; the log above has them")
        snapshot = await jobs.submit(QUEUE, "capture-balance-snapshot", {})
    print(f"{len(added)} records and a snapshot of {len(AGENTS)} agents, the last: {snapshot.job_id}")
    print(f"Watch:  jobcast tail {snapshot.job_id}")
    print(f"        jobcast queue show {QUEUE}")
    print(f"        jobcast schedule list {QUEUE}")


if __name__ == "__main__":
    try:
        asyncio.run(main(int(sys.argv[1]) if sys.argv[1:] else SEED))
    except JobcastError as error:
        sys.exit(f"sample: {error}")
