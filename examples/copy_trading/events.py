"""What happens on the chain; each event is the data of one job.

Amounts and values are whole base units of the vault's currency, as text: JSON's numbers end at 2**53 for many readers,
and SQLite's at 2**63.
"""

from typing import Annotated, Any, Final

import msgspec

Address = Annotated[str, msgspec.Meta(pattern=r"^0x[0-9a-fA-F]{40}\Z")]
Hash = Annotated[str, msgspec.Meta(pattern=r"^0x[0-9a-fA-F]{64}\Z")]
Whole = Annotated[str, msgspec.Meta(pattern=r"^(0|[1-9][0-9]{0,77})\Z")]
"""What 256 bits can hold has at most 78 digits."""
Positive = Annotated[str, msgspec.Meta(pattern=r"^[1-9][0-9]{0,77}\Z")]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class Event(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Its place on the chain: the same event has the same place, however often it is told."""

    block: Count
    log_index: Count
    transaction_hash: Hash


class VaultCreated(Event, frozen=True, kw_only=True):
    address: Address
    leader: Address
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


class Traded(Event, frozen=True, kw_only=True):
    """A trade of the leader's; the vault's whole value right before it and right after it."""

    vault: Address
    token_in: Address
    token_out: Address
    amount_in: Positive
    amount_out: Whole
    value_before: Positive
    value_after: Whole


class Deposited(Event, frozen=True, kw_only=True):
    vault: Address
    follower: Address
    amount: Positive


class Withdrawn(Event, frozen=True, kw_only=True):
    vault: Address
    follower: Address
    amount: Positive


QUEUES: Final[dict[type[Event], tuple[str, str]]] = {
    VaultCreated: ("vault", "create-vault"),
    Traded: ("trade", "record-trade"),
    Deposited: ("follower", "deposit"),
    Withdrawn: ("follower", "withdraw"),
}
"""Queue and job of each kind."""


def job_of(event: Event, **opts: Any) -> tuple[str, dict[str, Any]]:
    """The queue of an event, and its job ``{name, data, opts}``, whose id is that of the event."""
    queue, name = QUEUES[type(event)]
    job_id = f"{name}-{event.transaction_hash.lower()}-{event.log_index}"
    return queue, {"name": name, "data": msgspec.to_builtins(event), "opts": {"jobId": job_id, **opts}}
