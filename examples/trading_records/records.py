"""What is recorded; each is the data of one job.

Decimals are text from end to end: a JSON number is a binary float for most who read it, and 0.1 is none.
"""

from datetime import datetime
from typing import Annotated, Literal

import msgspec

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
Text = Annotated[str, msgspec.Meta(max_length=200)]
Decimal = Annotated[str, msgspec.Meta(pattern=r"^-?(0|[1-9][0-9]{0,29})(\.[0-9]{1,30})?\Z")]
Positive = Annotated[str, msgspec.Meta(pattern=r"^(0|[1-9][0-9]{0,29})(\.[0-9]{1,30})?\Z")]
Time = Annotated[datetime, msgspec.Meta(tz=True)]


class Record(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """``version``: of two jobs about one record the higher one stands, whichever runs last; a time in ms will do."""

    id: Id
    agent_id: Id
    wallet: Id
    version: Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class Transaction(Record, frozen=True, kw_only=True):
    """A purchase or a sale; ``price`` and ``fee`` in US dollars."""

    side: Literal["buy", "sell"]
    token: Id
    amount: Positive
    price: Positive
    fee: Positive
    status: Literal["pending", "confirmed", "failed"]
    executed_at: Time


class HistoricalSwap(Record, frozen=True, kw_only=True):
    """A trade that is closed. ``purchase_transaction`` is None where the token came another way."""

    token: Id
    amount: Positive
    purchase_price: Positive
    sale_price: Positive
    change_percent: Decimal
    profit_usd: Decimal
    profit_sol: Decimal
    purchased_at: Time
    sold_at: Time
    purchase_transaction: Id | None = None
    signal: Text | None = None
    close_reason: Text | None = None


class BalanceSnapshot(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Whose balance is captured: of one agent and wallet, or with both left out of every agent."""

    agent_id: Id | None = None
    wallet: Id | None = None

    def __post_init__(self) -> None:
        if (self.agent_id is None) != (self.wallet is None):
            raise ValueError("expected agentId and wallet together, or neither for every agent")
