"""What is asked of an exchange, over HTTP. Errors are left as they are: what each means, ``queues.py`` says."""

import os
from decimal import Decimal
from types import TracebackType
from typing import Literal, Self, TypeVar

import httpx
import msgspec

T = TypeVar("T")
PUBLIC = "public"
"""The key for what anybody may ask."""


class Order(msgspec.Struct, frozen=True, rename="camel"):
    """``placed_at`` in Unix ms."""

    id: str
    market: str
    side: Literal["buy", "sell"]
    amount: Decimal
    price: Decimal
    placed_at: int


class Page(msgspec.Struct, frozen=True):
    """Some orders of ``total``."""

    orders: list[Order]
    total: int


class Balances(msgspec.Struct, frozen=True):
    balances: dict[str, Decimal]


class Prices(msgspec.Struct, frozen=True):
    prices: dict[str, Decimal]


class ExchangeClient:
    """Connections with one user's key, closed at the end of a ``with``.

    Every call raises ``httpx.HTTPStatusError`` (the exchange refused), ``httpx.TransportError`` (no answer came) or
    ``msgspec.DecodeError`` (the answer is none).
    """

    def __init__(self, api_key: str = PUBLIC) -> None:
        url = os.environ.get("EXAMPLE_EXCHANGE", "http://127.0.0.1:8090")
        headers = {"Authorization": f"Bearer {api_key}"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=10, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def orders(self, exchange: str, after: int) -> Page:
        """The orders that follow the first ``after``, the oldest first."""
        return self._get(f"/{exchange}/orders", Page, after=after)

    def balances(self, exchange: str) -> dict[str, Decimal]:
        return self._get(f"/{exchange}/balances", Balances).balances

    def prices(self, market: str = "") -> dict[str, Decimal]:
        """Of one market, or of all."""
        return self._get(f"/prices/{market}".rstrip("/"), Prices).prices

    def _get(self, path: str, kind: type[T], **query: int) -> T:
        response = self._http.get(path, params=query)
        response.raise_for_status()
        return msgspec.json.decode(response.content, type=kind)
