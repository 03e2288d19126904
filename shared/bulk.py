"""Many jobs added in one step: what each is, and how BullMQ takes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from redis.asyncio import Redis

from jobcast.shared.errors import BadRequest, JobcastError
from jobcast.shared.names import check_job_name
from jobcast.shared.options import JobOptions, read_options

MOST_AT_ONCE: Final = 1000
"""Jobs of one call: BullMQ adds them in one step, in which Redis serves nobody else."""


@dataclass(frozen=True, slots=True)
class NewJob:
    """One of the jobs of ``JobQueues.submit_many``."""

    name: str
    data: Any = None
    options: JobOptions = field(default_factory=JobOptions)

    @property
    def named(self) -> bool:
        """Whether BullMQ may have it already."""
        return self.options.job_id is not None or self.options.deduplication is not None


def read_jobs(given: Sequence[object]) -> list[NewJob]:
    """Jobs ``{name, data?, opts?}`` as a caller sent them.

    Raises:
        BadRequest: too many or none; of a job, by its place in the list, from 0.
        BadJobId: an id that BullMQ cannot keep.
    """
    _check_number(len(given))
    return [_read_job(number, job) for number, job in enumerate(given)]


def _read_job(number: int, job: object) -> NewJob:
    if not isinstance(job, Mapping):
        raise BadRequest(f"jobs[{number}]: expected an object {{name, data?, opts?}}, got {type(job).__name__}")
    if unknown := sorted(str(name) for name in set(job) - {"name", "data", "opts"}):
        raise BadRequest(f"jobs[{number}]: expected only name, data and opts; got also {', '.join(unknown)[:200]}")
    try:
        return NewJob(check_job_name(job.get("name", "")), job.get("data", {}), read_options(job.get("opts")))
    except JobcastError as error:
        raise type(error)(f"jobs[{number}]: {error}") from error


def _check_number(jobs: int) -> None:
    if not 1 <= jobs <= MOST_AT_ONCE:
        raise BadRequest(f"expected 1 to {MOST_AT_ONCE} jobs at once, got {jobs}")


def check_bulk(jobs: Sequence[NewJob]) -> None:
    """Raise BadRequest for what cannot be added at once."""
    _check_number(len(jobs))
    for job in jobs:
        check_job_name(job.name)


async def add_bulk(client: Redis, handle: Any, jobs: Sequence[NewJob], opts: Sequence[dict[str, Any]]) -> list[Any]:
    """Add them by BullMQ's queue object, all or none. Answers each job as BullMQ now has it, and whether it is new.

    Raises:
        BadRequest: the data of one cannot be written as JSON; none was added.
    """
    wanted = [{"name": job.name, "data": job.data, "opts": told} for job, told in zip(jobs, opts, strict=True)]
    try:
        added = await handle.addBulk(wanted)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BadRequest(f"the data of a job cannot be written as JSON: {error}") from error
    async with client.pipeline(transaction=False) as pipe:
        for job in added:
            pipe.hget(handle.backend.toKey(job.id), "timestamp")
        births = await pipe.execute()
    # What BullMQ had already, under its id or by its de-duplication, was born at another time.
    return [
        (new, not job.named or born == str(told["timestamp"]))
        for new, job, born, told in zip(added, jobs, births, opts, strict=True)
    ]
