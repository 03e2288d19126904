"""What the jobs are given: small, checked when a flow is made and again when its jobs run. Times are Unix ms."""

from typing import Annotated, Final, Literal

import msgspec

from examples.wallet_analysis.analysis import VectorKind

ADDRESS: Final = r"^[1-9A-HJ-NP-Za-km-z]{32,44}\Z"
"""Base58, 32 bytes."""
MOST_WALLETS: Final = 200
"""Compared at once. The result names each of them, and a job's result has at most 64 KiB."""
Address = Annotated[str, msgspec.Meta(pattern=ADDRESS)]
RequestId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9-]{1,40}\Z")]
Time = Annotated[int, msgspec.Meta(ge=0)]
Wallets = Annotated[list[Address], msgspec.Meta(max_length=MOST_WALLETS)]
BatchSize = Annotated[int, msgspec.Meta(ge=1, le=1000)]


class _Payload(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    request: RequestId
    asked: Time


class OfWallet(_Payload, frozen=True, kw_only=True):
    """``force``: analyse it although that was done just now. ``depends_on``: a job that must be completed before."""

    wallet: Address
    force: bool = False
    depends_on: str | None = None


class Rules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """How wallets are compared: by trades from ``since`` on and before ``until``, without the ``excluded`` tokens.

    ``threshold``: the share of the wallets that must be analysed. ``enrichment``: ask for the names and prices of
    their tokens at once (``sync``), in a job of its own (``background``), or for the first batch at once (``hybrid``).
    """

    vector: VectorKind = "capital"
    min_shared: Annotated[int, msgspec.Meta(ge=1)] = 2
    since: Time = 0
    until: Time | None = None
    excluded: list[str] = []
    threshold: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.8
    enrichment: Literal["sync", "background", "hybrid"] = "background"
    batch_size: BatchSize = 20


class Comparison(_Payload, frozen=True, kw_only=True):
    """``wallets`` are those that can be compared; ``invalid`` and ``system`` were asked for as well."""

    wallets: Wallets
    invalid: list[str] = []
    system: list[str] = []
    rules: Rules


class Enrichment(_Payload, frozen=True, kw_only=True):
    """Of the tokens these wallets traded, those that have no price of this hour; ``batch_size`` is a hint."""

    wallets: Wallets
    batch_size: BatchSize = 20
