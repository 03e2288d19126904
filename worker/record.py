"""BullMQ's record of a job as BullMQ's own ``Job``: a plain one, as most are, read in a third of the time.

``Job.fromJSON`` first makes of the record a job that is to be added, with all its checks and defaults: a tenth of what
a worker pays for a job that does nothing. What comes of it here is the same; a test holds the two to it.
"""

import json
from collections.abc import Callable
from typing import Any, Final

_FIELDS: Final = frozenset({"name", "data", "opts", "timestamp", "delay", "priority", "processedOn", "ats"})
_OPTIONS: Final = frozenset(
    {"attempts", "delay", "jobId", "lifo", "priority", "removeOnComplete", "removeOnFail", "timestamp"}
)


def reader(job_class: Any, queue: Any) -> Callable[[dict[str, str], str], Any]:
    """A function that makes the ``Job`` (``job_class``, of this queue) of a record and its id.

    It raises what ``Job.fromJSON`` raises for what is no record: ValueError, TypeError, AttributeError, RecursionError.
    """
    blank = vars(job_class(queue, "", None, {}))

    def read(record: dict[str, str], job_id: str) -> Any:
        opts = json.loads(record["opts"]) if record.keys() == _FIELDS else None
        if not isinstance(opts, dict) or not _OPTIONS.issuperset(opts):
            return job_class.fromJSON(queue, record, job_id)
        job = job_class.__new__(job_class)
        vars(job).update(blank)
        job.id, job.name, job.data = job_id, record["name"], json.loads(record["data"])
        job.opts = {"attempts": 0, "delay": 0, **opts, "backoff": None}
        job.attempts = opts.get("attempts", 1)
        job.removeOnComplete, job.removeOnFail = opts.get("removeOnComplete", True), opts.get("removeOnFail", False)
        job.timestamp, job.processedOn = int(record["timestamp"]), int(record["processedOn"])
        job.delay, job.priority = int(record["delay"]), int(record["priority"])
        job.attemptsStarted = int(record["ats"])
        job.stacktrace = []
        return job

    return read
