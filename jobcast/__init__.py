"""jobcast: live job progress for any back end.

The directories of the repository are the subpackages of this one: ``jobcast/gateway`` and its
neighbours are links to them. The code lives where a reader looks for it, and nothing named
``worker`` or ``shared`` is installed at the top level, where a user's own package may stand.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobcast.worker.batch import Batch, TooManyFailed
    from jobcast.worker.context import Context, SyncContext
    from jobcast.worker.dependency import DependencyFailed, DependencyNotReady
    from jobcast.worker.errors import Cancelled, Unrecoverable
    from jobcast.worker.outside import Reporter, SyncReporter
    from jobcast.worker.registry import job

__version__ = "0.1.0"
__all__ = [
    "Batch",
    "Cancelled",
    "Context",
    "DependencyFailed",
    "DependencyNotReady",
    "Reporter",
    "SyncContext",
    "SyncReporter",
    "TooManyFailed",
    "Unrecoverable",
    "job",
]

_HOMES = {
    "Batch": "jobcast.worker.batch",
    "Cancelled": "jobcast.worker.errors",
    "Context": "jobcast.worker.context",
    "DependencyFailed": "jobcast.worker.dependency",
    "DependencyNotReady": "jobcast.worker.dependency",
    "Reporter": "jobcast.worker.outside",
    "SyncContext": "jobcast.worker.context",
    "SyncReporter": "jobcast.worker.outside",
    "TooManyFailed": "jobcast.worker.batch",
    "Unrecoverable": "jobcast.worker.errors",
    "job": "jobcast.worker.registry",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: a gateway never loads the worker."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
