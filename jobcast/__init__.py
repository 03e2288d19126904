"""jobcast: live job progress for any back end.

The directories of the repository are the subpackages of this one: ``jobcast/gateway`` and its
neighbours are links to them. The code lives where a reader looks for it, and nothing named
``worker`` or ``shared`` is installed at the top level, where a user's own package may stand.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobcast.shared.schedule import Repeat
    from jobcast.worker.batch import Batch, TooManyFailed
    from jobcast.worker.context import Context, SyncContext
    from jobcast.worker.dependency import DependencyFailed, DependencyNotReady
    from jobcast.worker.errors import Cancelled, LockHeld, RetryAfter, Unrecoverable
    from jobcast.worker.outside import Reporter, SyncReporter
    from jobcast.worker.queues import QueueDefinition, read_definitions
    from jobcast.worker.registry import job, queue, schedule

__version__ = "0.1.0"
__all__ = [
    "Batch",
    "Cancelled",
    "Context",
    "DependencyFailed",
    "DependencyNotReady",
    "LockHeld",
    "QueueDefinition",
    "Repeat",
    "Reporter",
    "RetryAfter",
    "SyncContext",
    "SyncReporter",
    "TooManyFailed",
    "Unrecoverable",
    "job",
    "queue",
    "read_definitions",
    "schedule",
]

_HOMES = {
    "Batch": "jobcast.worker.batch",
    "Cancelled": "jobcast.worker.errors",
    "Context": "jobcast.worker.context",
    "DependencyFailed": "jobcast.worker.dependency",
    "DependencyNotReady": "jobcast.worker.dependency",
    "LockHeld": "jobcast.worker.errors",
    "QueueDefinition": "jobcast.worker.queues",
    "Repeat": "jobcast.shared.schedule",
    "Reporter": "jobcast.worker.outside",
    "RetryAfter": "jobcast.worker.errors",
    "SyncContext": "jobcast.worker.context",
    "SyncReporter": "jobcast.worker.outside",
    "TooManyFailed": "jobcast.worker.batch",
    "Unrecoverable": "jobcast.worker.errors",
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
