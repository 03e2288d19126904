"""What the jobs carry: ids, never records. Each payload knows its queue, its job's name and its job's id.

Checked when a job is added, by :func:`job_for`, and again by the worker before its handler is called: between the two
lies a queue that others can write to.
"""

from typing import Annotated, Any, ClassVar

import msgspec

Id = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,100}\Z")]
Address = Annotated[str, msgspec.Meta(pattern=r"^0x[0-9a-fA-F]{40}\Z")]
Ip = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F.:]{2,45}\Z")]


class Payload(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The data of one job."""

    queue: ClassVar[str]
    job: ClassVar[str]

    @property
    def job_id(self) -> str | None:
        """One job for the same id: asked for twice is done once. None where each is a job of its own."""
        return None


class DeliverWebhook(Payload, frozen=True):
    queue = "webhook-deliveries"
    job = "deliver"
    delivery_id: Id

    @property
    def job_id(self) -> str:
        return f"deliver-{self.delivery_id}"


class VerifyBackup(Payload, frozen=True):
    queue = "backup-verification"
    job = "verify"
    backup_id: Id

    @property
    def job_id(self) -> str:
        return f"verify-{self.backup_id}"


class ResolveMarket(Payload, frozen=True):
    queue = "market-resolution"
    job = "resolve"
    market_id: Id

    @property
    def job_id(self) -> str:
        return f"resolve-{self.market_id}"


class ReconcileAll(Payload, frozen=True, tag_field="type", tag="global"):
    queue = "reconciliation"
    job = "reconcile"


class ReconcileMarket(Payload, frozen=True, tag_field="type", tag="market"):
    """Asked for by an administrator, which is written down with its outcome."""

    queue = "reconciliation"
    job = "reconcile"
    market_id: Id
    admin_address: Address
    ip: Ip
    correlation_id: Id

    @property
    def job_id(self) -> str:
        return f"reconcile-{self.correlation_id}"


Reconcile = ReconcileAll | ReconcileMarket


def job_for(payload: Payload) -> tuple[str, str, dict[str, Any], dict[str, Any]]:
    """Queue, name, data and options of a job, as ``submit`` takes them.

    Raises:
        ValueError: a field that is no id, say; the sentence names it.
    """
    data = msgspec.to_builtins(payload)
    try:
        msgspec.convert(data, type(payload))
    except msgspec.ValidationError as error:
        raise ValueError(f"{type(payload).__name__}: {error}") from error
    return payload.queue, payload.job, data, {} if payload.job_id is None else {"jobId": payload.job_id}
