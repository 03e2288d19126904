"""The jobs. Each may run twice, for a worker may die in the midst of one: what was done is found in the database."""

from typing import Any

from examples.market.payloads import DeliverWebhook, ReconcileMarket, job_for
from examples.market.services import BackupBroken, Services
from examples.market.webhooks import post, wait_after
from jobcast import RetryAfter, SyncContext, Unrecoverable


def resolve_market(services: Services, ctx: SyncContext) -> dict[str, Any]:
    """Resolve a market, then add a job for each delivery that is due. Resolved before: only what is left of that."""
    market_id = ctx.data.market_id
    resolution = services.database.resolve(market_id, services.now())
    if resolution is None:
        raise Unrecoverable(f"there is no market {market_id}")
    ctx.progress(50, stage="resolved")
    due = services.database.pending_deliveries(market_id)
    for number, delivery_id in enumerate(due, start=1):
        ctx.submit(*job_for(DeliverWebhook(delivery_id)))
        ctx.progress(50 + 50 * number / len(due), stage="telling")
    return {"fresh": resolution.fresh, "won": resolution.won, "lost": resolution.lost, "deliveries": len(due)}


def deliver_webhook(services: Services, ctx: SyncContext) -> dict[str, Any]:
    """Try a delivery once. When to try again is the delivery's own to say, and so uses up no attempt of the job."""
    database, id_ = services.database, ctx.data.delivery_id
    delivery = database.delivery(id_)
    if delivery is None:
        raise Unrecoverable(f"there is no delivery {id_}")
    if delivery.status != "pending":
        return {"skipped": delivery.status}
    if (early := delivery.next_attempt_at - services.now()) > 0:
        raise RetryAfter(early / 1000, f"delivery {id_} is not due yet")
    endpoint = database.endpoint(delivery.endpoint_id)
    if endpoint is None or not endpoint.active:
        database.record_try(delivery, "terminal", "the endpoint is switched off")
        raise Unrecoverable(f"endpoint {delivery.endpoint_id} of delivery {id_} is switched off")
    error, attempts = post(services.http, endpoint, delivery), delivery.attempts + 1
    if error is None:
        database.record_try(delivery, "delivered")
        return {"attempts": attempts}
    failed = f"delivery {id_} to endpoint {endpoint.id}, attempt {attempts}: {error}"
    wait = wait_after(attempts, services.first_wait)
    if wait is None:
        database.record_try(delivery, "terminal", error)
        raise Unrecoverable(f"{failed}; given up")
    database.record_try(delivery, "pending", error, services.now() + round(wait * 1000))
    raise RetryAfter(wait, failed)


def verify_backup(services: Services, ctx: SyncContext) -> dict[str, Any]:
    """Verify a backup and write down the verdict; one that is broken fails the job for good."""
    backup = services.database.backup(ctx.data.backup_id)
    if backup is None:
        raise Unrecoverable(f"there is no backup {ctx.data.backup_id}")
    try:
        services.verify(backup)
    except BackupBroken as broken:
        services.database.record_verification(backup.id, services.now(), str(broken))
        raise
    services.database.record_verification(backup.id, services.now(), None)
    return {"backupId": backup.id}


def reconcile(services: Services, ctx: SyncContext) -> dict[str, Any]:
    """Compare the pools with the predictions. What does not agree is written down and told, not mended."""
    asked = ctx.data
    now = services.now()
    if isinstance(asked, ReconcileMarket):
        faults = services.database.reconcile(asked.correlation_id, now, asked.market_id, asked.admin_address, asked.ip)
    else:
        faults = services.database.reconcile(ctx.job_id, now, None, None, None)
    for fault in faults[:100]:
        ctx.log(fault, level="warning")
    return {"faults": len(faults)}
