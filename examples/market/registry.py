"""The queues and who works them, made with the services they are given."""

import logging
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from examples.market import handlers
from examples.market.payloads import DeliverWebhook, Reconcile, ReconcileAll, ResolveMarket, VerifyBackup
from examples.market.services import Services
from jobcast import Backoff, QueueDefinition, Registry, SyncContext

Function = Callable[[Services, SyncContext], Any]

RETRY: Final = Backoff("exponential", 1000)
QUEUES: Final = (
    QueueDefinition("market-resolution", concurrency=2, attempts=5, backoff=RETRY),
    QueueDefinition("webhook-deliveries", concurrency=10, attempts=3, backoff=RETRY),
    QueueDefinition("backup-verification", concurrency=1, attempts=3, backoff=RETRY),
    QueueDefinition("reconciliation", concurrency=1, attempts=3, backoff=RETRY),
)
_log = logging.getLogger("market")


def registry(services: Services, queues: Iterable[QueueDefinition] = QUEUES) -> Registry:
    """The handlers of all four queues, with these services; ``queues``: how they are worked, concurrency and all."""
    made = Registry()
    for each in queues:
        made.declare(each)
    for payload, data, function in (
        (ResolveMarket, ResolveMarket, handlers.resolve_market),
        (DeliverWebhook, DeliverWebhook, handlers.deliver_webhook),
        (VerifyBackup, VerifyBackup, handlers.verify_backup),
        (ReconcileAll, Reconcile, handlers.reconcile),
    ):
        made.add(payload.queue, payload.job, _with(services, function), timeout=60, data=data)
    return made


def _with(services: Services, function: Function) -> Callable[[SyncContext], Any]:
    """The handler a worker calls. A failure is logged with the ids it is about, which are all that a payload holds."""

    def run(ctx: SyncContext) -> Any:
        try:
            return function(services, ctx)
        except Exception as error:
            ids = msgspec.to_builtins(ctx.data)
            _log.error("job %s %s failed: %s", ctx.job_id, ids, error)
            raise

    return run
