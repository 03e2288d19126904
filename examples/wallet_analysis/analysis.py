"""What trades say of a wallet, and of two wallets beside each other. Pure."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import hypot
from statistics import median
from typing import Any, Final, Literal

from examples.wallet_analysis.database import Trade

HOUR_MS: Final = 3_600_000
VectorKind = Literal["binary", "capital"]
Vector = Mapping[str, int]


@dataclass(slots=True)
class _Lot:
    """What a wallet holds of a token: base units, and what was paid for them in micro-dollars."""

    amount: int = 0
    cost: int = 0

    def take(self, amount: int) -> int:
        """Sell at the average cost; the cost of what was sold. What never was bought here cost nothing."""
        sold = min(amount, self.amount)
        cost = self.cost * sold // self.amount if self.amount else 0
        self.amount -= sold
        self.cost -= cost
        return cost


def profit_and_loss(trades: Iterable[Trade]) -> dict[str, Any]:
    """Realized profit by token and in all, in micro-dollars, and the share of sold tokens that made one."""
    lots: dict[str, _Lot] = {}
    profits: Counter[str] = Counter()
    count = 0
    for count, trade in enumerate(trades, start=1):  # noqa: B007  how many there were
        lot = lots.setdefault(trade.token, _Lot())
        if trade.side == "buy":
            lot.amount += trade.amount
            lot.cost += trade.value
        else:
            profits[trade.token] += trade.value - lot.take(trade.amount)
    won = sum(profit > 0 for profit in profits.values())
    return {
        "trades": count,
        "realized": profits.total(),
        "byToken": dict(sorted(profits.items())),
        "winRate": round(won / len(profits), 4) if profits else None,
    }


def behavior(trades: Collection[Trade]) -> dict[str, Any]:
    """How a wallet trades: how often, at which hour (UTC), and in how many tokens."""
    gaps = [later.at - earlier.at for earlier, later in pairwise(trades)]
    hours = Counter(trade.at // HOUR_MS % 24 for trade in trades)
    return {
        "trades": len(trades),
        "tokens": len({trade.token for trade in trades}),
        "buys": sum(trade.side == "buy" for trade in trades),
        "hoursBetween": round(median(gaps) / HOUR_MS, 2) if gaps else None,
        "busiestHour": min(hours, key=lambda hour: (-hours[hour], hour)) if hours else None,
    }


def vector(trades: Iterable[Trade], kind: VectorKind, excluded: Collection[str] = ()) -> Vector:
    """A wallet as numbers by token: 1 for each it bought (``binary``), or the micro-dollars it put in (``capital``)."""
    spent: Counter[str] = Counter()
    for trade in trades:
        if trade.side == "buy" and trade.token not in excluded:
            spent[trade.token] += trade.value
    return dict.fromkeys(spent, 1) if kind == "binary" else spent


def compare(vectors: Mapping[str, Vector], min_shared: int) -> list[dict[str, Any]]:
    """Any two wallets that share at least ``min_shared`` tokens, and their cosine similarity; the most alike first."""
    found = []
    for one, other in combinations(sorted(vectors), 2):
        shared = vectors[one].keys() & vectors[other].keys()
        if len(shared) >= min_shared:
            similarity = _cosine(vectors[one], vectors[other], shared)
            found.append({"wallets": [one, other], "similarity": similarity, "shared": len(shared)})
    return sorted(found, key=lambda pair: -pair["similarity"])


def _cosine(one: Vector, other: Vector, shared: Iterable[str]) -> float:
    length = hypot(*one.values()) * hypot(*other.values())
    return round(sum(one[token] * other[token] for token in shared) / length, 4) if length else 0.0
