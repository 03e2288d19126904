"""Which jobs a request needs, as trees to be submitted whole: each job runs once its children are completed."""

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from examples.wallet_analysis import database
from examples.wallet_analysis.payloads import ADDRESS, MOST_WALLETS, Rules
from jobcast import BadData

WALLETS: Final = "wallet-operations"
ANALYSIS: Final = "analysis-operations"
SIMILARITY: Final = "similarity-operations"
ENRICHMENT: Final = "enrichment-operations"
KINDS: Final = {
    "sync": (WALLETS, "sync-wallet"),
    "balance": (WALLETS, "fetch-balance"),
    "pnl": (ANALYSIS, "analyze-pnl"),
    "behavior": (ANALYSIS, "analyze-behavior"),
    "dashboard": (ANALYSIS, "dashboard-wallet-analysis"),
}
"""What can be done with one wallet: queue and name of its job, by the word its id begins with."""

SYSTEM: Final = frozenset(
    {
        "11111111111111111111111111111111",
        "ComputeBudget111111111111111111111111111111",
        "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA",
    }
)
"""Programs of the chain itself: addresses like any other, but nobody's wallet."""
LONGEST_SHOWN: Final = 60
STALE_AFTER_MS: Final = 3_600_000
"""A wallet that was read longer ago is read again before it is compared."""


def job_id(kind: str, wallet: str, request: str, asked: int) -> str:
    """``pnl_<wallet>_<request>_<ms>``: one request's job for a wallet is there once."""
    return f"{kind}_{wallet}_{request}_{asked}"


@dataclass(frozen=True, slots=True)
class Request:
    """Somebody's question: its id, when it was asked (Unix ms), and how urgent all of its jobs are."""

    id: str
    asked: int
    priority: str = "normal"

    def job(
        self, kind: str, wallet: str, *, children: Sequence[dict[str, Any]] = (), more: Any = None, **opts: Any
    ) -> dict[str, Any]:
        """One job of a wallet, a node of a tree; ``more`` of its data, and options in BullMQ's words."""
        queue, name = KINDS[kind]
        data = {"wallet": wallet, **(more or {})}
        return self._node(queue, name, data, {"jobId": job_id(kind, wallet, self.id, self.asked), **opts}, children)

    def dashboard(self, wallet: str) -> dict[str, Any]:
        """All about one wallet, read anew."""
        sync = self.job("sync", wallet, failParentOnFailure=True, weight=3)
        balance = self.job("balance", wallet, failParentOnFailure=True)
        return self.job("dashboard", wallet, children=[sync, balance], more={"force": True}, childrenShare=0.6)

    def similarity(self, db: sqlite3.Connection, wallets: Sequence[str], rules: Rules) -> dict[str, Any]:
        """Compare wallets: each is read, if that was not done within the hour, and analysed; then all are compared.

        A wallet that cannot be read fails its own analysis only: the comparison goes on with those that are left.

        Raises:
            BadData: fewer than two of them are wallets, or more were given than are compared at once.
        """
        given = list(dict.fromkeys(wallets))
        invalid = [each for each in given if not re.fullmatch(ADDRESS, each)]
        system = [each for each in given if each in SYSTEM]
        valid = [each for each in given if each not in SYSTEM and each not in invalid]
        if len(valid) < 2 or len(given) > MOST_WALLETS:
            raise BadData(f"expected 2 to {MOST_WALLETS} wallets to compare, got {len(valid)} among {len(given)}")
        data = {
            "wallets": valid,
            "invalid": [each[:LONGEST_SHOWN] for each in invalid],
            "system": system,
            "rules": msgspec.to_builtins(rules),
        }
        children = [self._analyzed(wallet, database.synced_at(db, wallet)) for wallet in valid]
        return self._node(SIMILARITY, "calculate-similarity", data, {"jobId": f"similarity_{self.id}"}, children)

    def _analyzed(self, wallet: str, synced_at: int | None) -> dict[str, Any]:
        """One wallet of a comparison; reading it takes about three times as long as analysing it."""
        if synced_at is not None and self.asked - synced_at <= STALE_AFTER_MS:
            return self.job("pnl", wallet, ignoreDependencyOnFailure=True)
        sync = self.job("sync", wallet, ignoreDependencyOnFailure=True)
        opts = {"weight": 4, "childrenShare": 0.75, "ignoreDependencyOnFailure": True}
        return self.job("pnl", wallet, children=[sync], more={"force": True}, **opts)

    def _node(
        self, queue: str, name: str, data: dict[str, Any], opts: dict[str, Any], children: Sequence[dict[str, Any]]
    ) -> dict[str, Any]:
        return {
            "queue": queue,
            "name": name,
            "data": {"request": self.id, "asked": self.asked, **data},
            "opts": {"priority": self.priority, **opts},
            "children": list(children),
        }
