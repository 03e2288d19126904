"""The chain as its HTTP service shows it: trades by pages, balances, and what tokens are called and cost."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import httpx

from examples.wallet_analysis.database import Trade
from jobcast import Unrecoverable

PAGE: Final = 20
MOST_TOKENS: Final = 50
"""Tokens the service tells of in one call."""
PATIENCE: Final = 10.0


class Chain:
    """Errors are httpx's, and say what they mean: 429, 5xx and a lost connection are worth another try."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def trades(self, wallet: str, start: int) -> tuple[list[Trade], int]:
        """A page of the wallet's trades from the ``start``-th on, oldest first, and how many there are in all.

        Raises:
            Unrecoverable: the chain knows no such wallet.
        """
        found = self._ask(f"/wallets/{wallet}/trades", {"start": start, "limit": PAGE})
        trades = [Trade(**{**each, "amount": int(each["amount"])}) for each in found["trades"]]
        return trades, found["total"]

    def balances(self, wallet: str) -> dict[str, int]:
        """Base units by token. Raises as :meth:`trades` does."""
        return {token: int(amount) for token, amount in self._ask(f"/wallets/{wallet}/balances").items()}

    def tokens(self, tokens: Collection[str]) -> dict[str, tuple[str, int]]:
        """Symbol and price (micro-dollars for one whole token) of up to ``MOST_TOKENS``."""
        found = self._ask("/tokens", {"ids": ",".join(tokens)})
        return {token: (each["symbol"], each["price"]) for token, each in found.items()}

    def _ask(self, path: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        answer = self._http.get(path, params=params)
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise Unrecoverable(f"the chain does not know {path}")
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found


@contextmanager
def connected() -> Iterator[Chain]:
    """The service at ``EXAMPLE_CHAIN``."""
    url = os.environ.get("EXAMPLE_CHAIN", "http://127.0.0.1:8099")
    with httpx.Client(base_url=url, timeout=PATIENCE, trust_env=False) as http:
        yield Chain(http)


def batches(tokens: Sequence[str], size: int) -> list[list[str]]:
    """The tokens in batches of ``size``, which is a hint: never more than the service takes."""
    size = min(size, MOST_TOKENS)
    return [list(tokens[start : start + size]) for start in range(0, len(tokens), size)]
