"""Many jobs in one request: read whole and checked whole, so that one bad job leaves none queued."""

from typing import Any

from jobcast.shared.bulk import MOST_AT_ONCE, NewJob
from jobcast.shared.errors import BadRequest, JobcastError
from jobcast.shared.names import check_job_name, check_queue_name
from jobcast.shared.options import read_options


def read_bulk(body: Any) -> tuple[str, list[NewJob]]:
    """``{queue, jobs: [{name, data?, opts?}, ...]}``.

    Raises:
        BadRequest: not of that form; of a job, by its place in the list, from 0.
        BadQueueName: not a queue's name.
    """
    if not isinstance(body, dict) or set(body) != {"queue", "jobs"} or not isinstance(body["jobs"], list):
        raise BadRequest("expected a JSON object {queue, jobs: [{name, data?, opts?}, ...]}")
    if not 1 <= len(body["jobs"]) <= MOST_AT_ONCE:
        raise BadRequest(f"expected 1 to {MOST_AT_ONCE} jobs at once, got {len(body['jobs'])}")
    queue = check_queue_name(body["queue"])
    return queue, [_read_job(number, job) for number, job in enumerate(body["jobs"])]


def _read_job(number: int, job: Any) -> NewJob:
    if not isinstance(job, dict):
        raise BadRequest(f"jobs[{number}]: expected an object {{name, data?, opts?}}, got {type(job).__name__}")
    if unknown := sorted(set(job) - {"name", "data", "opts"}):
        raise BadRequest(f"jobs[{number}]: expected only name, data and opts; got also {', '.join(unknown)[:200]}")
    try:
        return NewJob(check_job_name(job.get("name", "")), job.get("data", {}), read_options(job.get("opts")))
    except JobcastError as error:
        raise type(error)(f"jobs[{number}]: {error}") from error
