"""Many jobs in one request: read whole and checked whole, so that one bad job leaves none queued."""

from typing import Any

from jobcast.shared.bulk import NewJob, read_jobs
from jobcast.shared.errors import BadRequest
from jobcast.shared.names import check_queue_name


def read_bulk(body: Any) -> tuple[str, list[NewJob]]:
    """``{queue, jobs: [{name, data?, opts?}, ...]}``.

    Raises:
        BadRequest: not of that form; of a job, by its place in the list, from 0.
        BadQueueName: not a queue's name.
    """
    if not isinstance(body, dict) or set(body) != {"queue", "jobs"} or not isinstance(body["jobs"], list):
        raise BadRequest("expected a JSON object {queue, jobs: [{name, data?, opts?}, ...]}")
    return check_queue_name(body["queue"]), read_jobs(body["jobs"])
