"""jobcast: live job progress for any back end.

The directories of the repository are the subpackages of this one: ``jobcast/gateway`` and its
neighbours are links to them. The code lives where a reader looks for it, and nothing named
``worker`` or ``shared`` is installed at the top level, where a user's own package may stand.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobcast.shared.definitions import JobTimes, Limiter
    from jobcast.shared.errors import JobcastError, JobExists
    from jobcast.shared.logs import configure_logs
    from jobcast.shared.options import Backoff, JobOptions, Keep
    from jobcast.shared.partitions import Partitions
    from jobcast.shared.queue import Submitted
    from jobcast.shared.schedule import Repeat, Schedule
    from jobcast.worker.batch import Batch, TooManyFailed
    from jobcast.worker.breaker import NOT_COUNTED, Breaker
    from jobcast.worker.classify import COMMON_ERRORS, ErrorRule
    from jobcast.worker.context import Context, SyncContext
    from jobcast.worker.dependency import DependencyFailed, DependencyNotReady
    from jobcast.worker.embedded import Worker
    from jobcast.worker.errors import BadData, Cancelled, LockHeld, RetryAfter, Unrecoverable
    from jobcast.worker.outside import Reporter, SyncReporter
    from jobcast.worker.producer import Producer, SyncProducer
    from jobcast.worker.queues import QueueDefinition, read_definitions
    from jobcast.worker.registry import Registry, include, job, queue, schedule

__version__ = "0.1.0"
__all__ = [
    "COMMON_ERRORS",
    "NOT_COUNTED",
    "Backoff",
    "BadData",
    "Batch",
    "Breaker",
    "Cancelled",
    "Context",
    "DependencyFailed",
    "DependencyNotReady",
    "ErrorRule",
    "JobExists",
    "JobOptions",
    "JobTimes",
    "JobcastError",
    "Keep",
    "Limiter",
    "LockHeld",
    "Partitions",
    "Producer",
    "QueueDefinition",
    "Registry",
    "Repeat",
    "Reporter",
    "RetryAfter",
    "Schedule",
    "Submitted",
    "SyncContext",
    "SyncProducer",
    "SyncReporter",
    "TooManyFailed",
    "Unrecoverable",
    "Worker",
    "configure_logs",
    "include",
    "job",
    "queue",
    "read_definitions",
    "schedule",
]

_HOMES = {
    "Backoff": "jobcast.shared.options",
    "BadData": "jobcast.worker.errors",
    "Batch": "jobcast.worker.batch",
    "Breaker": "jobcast.worker.breaker",
    "COMMON_ERRORS": "jobcast.worker.classify",
    "Cancelled": "jobcast.worker.errors",
    "Context": "jobcast.worker.context",
    "DependencyFailed": "jobcast.worker.dependency",
    "DependencyNotReady": "jobcast.worker.dependency",
    "ErrorRule": "jobcast.worker.classify",
    "JobExists": "jobcast.shared.errors",
    "JobOptions": "jobcast.shared.options",
    "JobTimes": "jobcast.shared.definitions",
    "JobcastError": "jobcast.shared.errors",
    "Keep": "jobcast.shared.options",
    "Limiter": "jobcast.shared.definitions",
    "LockHeld": "jobcast.worker.errors",
    "NOT_COUNTED": "jobcast.worker.breaker",
    "Partitions": "jobcast.shared.partitions",
    "Producer": "jobcast.worker.producer",
    "QueueDefinition": "jobcast.worker.queues",
    "Registry": "jobcast.worker.registry",
    "Repeat": "jobcast.shared.schedule",
    "Reporter": "jobcast.worker.outside",
    "RetryAfter": "jobcast.worker.errors",
    "Schedule": "jobcast.shared.schedule",
    "Submitted": "jobcast.shared.queue",
    "SyncContext": "jobcast.worker.context",
    "SyncProducer": "jobcast.worker.producer",
    "SyncReporter": "jobcast.worker.outside",
    "TooManyFailed": "jobcast.worker.batch",
    "Unrecoverable": "jobcast.worker.errors",
    "Worker": "jobcast.worker.embedded",
    "configure_logs": "jobcast.shared.logs",
    "include": "jobcast.worker.registry",
    "job": "jobcast.worker.registry",
    "queue": "jobcast.worker.registry",
    "read_definitions": "jobcast.worker.queues",
    "schedule": "jobcast.worker.registry",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: a gateway never loads the worker."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
