"""How a queue is worked: as data. A queue nobody declared is worked with the defaults."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import msgspec

from jobcast.shared.definitions import (
    KEEP_COMPLETED,
    KEEP_FAILED,
    LONGEST_TIMEOUT,
    MOST_AT_ONCE,
    JobTimes,
    Limiter,
    QueueWords,
)
from jobcast.shared.errors import BadRequest, BadSettings
from jobcast.shared.names import check_job_name, check_queue_name
from jobcast.shared.options import Backoff, Keep, priority_number
from jobcast.worker.breaker import Breaker
from jobcast.worker.classify import ErrorRule

CustomBackoff = Callable[[int, BaseException | None], float]
"""``(attempts_made, error)`` -> ms until the next attempt; the attempt that just failed is counted. A plain function.

``error`` is None where nothing was raised: after a time-out, say.
"""


@dataclass(frozen=True, slots=True)
class QueueDefinition:
    """How one queue is worked.

    ``concurrency``: jobs at once in each process; with ``max_concurrency`` up to so many, while jobs fill all slots and
    the process keeps up.
    ``attempts``, ``backoff`` and ``priority`` hold for jobs that say nothing of their own; so do ``keep_completed`` and
    ``keep_failed``, how long BullMQ keeps a finished job: without a bound it would be for ever. ``jobs`` are time-outs
    by job name; they go before what a handler was declared with.
    ``errors``: what the errors of its handlers mean; the first rule that matches decides.
    ``dead_letter``: the queue to which a job that failed for good is written.
    ``breaker``: when to take no job for a while, over all workers.

    ``max_stalled_count``: how often a job may lose its worker and be run again; once more and it fails, for one that
    kills its workers must not go on.

    Raises:
        BadSettings: a number out of its range.
        BadQueueName: not a queue's name.
    """

    name: str
    concurrency: int = 4
    max_concurrency: int | None = None
    attempts: int = 1
    backoff: Backoff | CustomBackoff | None = None
    keep_completed: Keep = KEEP_COMPLETED
    keep_failed: Keep = KEEP_FAILED
    limiter: Limiter | None = None
    priority: int | str | None = None
    max_stalled_count: int = 1
    jobs: Mapping[str, JobTimes] = field(default_factory=dict, hash=False)
    errors: tuple[ErrorRule, ...] = ()
    dead_letter: str | None = None
    breaker: Breaker | None = None

    def __post_init__(self) -> None:
        check_queue_name(self.name)
        for what, value, least, most in (
            ("concurrency", self.concurrency, 1, MOST_AT_ONCE),
            ("max_concurrency", self.max_concurrency, self.concurrency, MOST_AT_ONCE),
            ("attempts", self.attempts, 1, 1000),
            ("max_stalled_count", self.max_stalled_count, 0, 1000),
        ):
            if value is not None and not least <= value <= most:
                raise BadSettings(f"expected {what} of queue {self.name} from {least} to {most}, got {value}")
        if self.dead_letter is not None and check_queue_name(self.dead_letter) == self.name:
            raise BadSettings(f"expected another queue for the dead letters of queue {self.name} than itself")
        if self.limiter is not None and (self.limiter.count < 1 or self.limiter.duration < 1):
            raise BadSettings(f"expected a limiter of queue {self.name} above 0, got {self.limiter}")
        if self.backoff is not None and not isinstance(self.backoff, Backoff) and not callable(self.backoff):
            raise BadSettings(f"expected backoff of queue {self.name} as Backoff or a function, got {self.backoff!r}")
        self._check_jobs()
        object.__setattr__(self, "jobs", MappingProxyType(dict(self.jobs)))

    def _check_jobs(self) -> None:
        try:
            if self.priority is not None:
                priority_number(self.priority)
            for name in self.jobs:
                check_job_name(name)
        except BadRequest as error:
            raise BadSettings(f"queue {self.name}: {error}") from error
        for name, times in self.jobs.items():
            for what, value in (("timeout", times.timeout), ("stale_after", times.stale_after)):
                if value is not None and not 0 < value <= LONGEST_TIMEOUT:
                    raise BadSettings(
                        f"expected {what} of job {name} of queue {self.name} in seconds above 0, "
                        f"at most {LONGEST_TIMEOUT:.0f}, got {value}"
                    )

    def timeout(self, job: str) -> float | None:
        """Seconds an attempt of the jobs of this name may take; None where nothing is said."""
        times = self.jobs.get(job)
        return None if times is None else times.timeout

    def words(self, timeouts: Mapping[str, float]) -> QueueWords:
        """What everybody may know, the time-outs of the jobs that have a handler among it."""
        names = sorted({*timeouts, *self.jobs})
        jobs = {
            name: JobTimes(
                timeout=self.timeout(name) or timeouts.get(name),
                stale_after=self.jobs.get(name, JobTimes()).stale_after,
            )
            for name in names
        }
        return QueueWords(
            concurrency=self.concurrency,
            max_concurrency=self.max_concurrency,
            attempts=self.attempts,
            backoff=self.backoff if isinstance(self.backoff, Backoff) else None,
            priority=self.priority,
            remove_on_complete=self.keep_completed,
            remove_on_fail=self.keep_failed,
            limiter=self.limiter,
            max_stalled_count=self.max_stalled_count,
            jobs=jobs,
        )


class _BreakerWords(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    failures: int | None = None
    cooldown: float | None = None
    longest: float | None = None
    not_counted: frozenset[str] | None = None

    def breaker(self) -> Breaker:
        return Breaker(**{name: said for name, said in msgspec.structs.asdict(self).items() if said is not None})


class _Said(QueueWords, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """With what concerns nobody but the workers."""

    dead_letter: str | None = None
    breaker: _BreakerWords | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dead_letter is not None:
            check_queue_name(self.dead_letter)


def read_definition(name: str, data: Mapping[str, Any]) -> QueueDefinition:
    """A definition from plain values, as a TOML or JSON file holds them, in BullMQ's words.

    ``{concurrency, maxConcurrency, attempts, backoff: {type, delay, jitter}, removeOnComplete, removeOnFail,
    limiter: {max, duration}, priority, maxStalledCount, jobs: {<name>: {timeout, staleAfter}}, deadLetter,
    breaker: {failures, cooldown, longest, notCounted}}``, each as it pleases; time-outs, ``staleAfter``, ``cooldown``
    and ``longest`` in seconds. What its errors mean is said in code, where it can speak of types:
    ``dataclasses.replace(definition, errors=...)``.

    Raises:
        BadSettings: a word is not known, or its value is not of its kind; the sentence names it.
    """
    try:
        said = msgspec.convert(data, _Said)
        breaker = said.breaker and said.breaker.breaker()
    except (msgspec.ValidationError, BadRequest, BadSettings) as error:
        raise BadSettings(f"queue {name}: {str(error)[:300]}") from error
    given: dict[str, Any] = {
        "concurrency": said.concurrency,
        "max_concurrency": said.max_concurrency,
        "attempts": said.attempts,
        "backoff": said.backoff,
        "priority": said.priority,
        "keep_completed": _keep(said.remove_on_complete),
        "keep_failed": _keep(said.remove_on_fail),
        "limiter": said.limiter,
        "max_stalled_count": said.max_stalled_count,
        "jobs": said.jobs,
        "dead_letter": said.dead_letter,
        "breaker": breaker,
    }
    return QueueDefinition(name, **{word: value for word, value in given.items() if value is not None})


def read_definitions(data: Mapping[str, Mapping[str, Any]]) -> list[QueueDefinition]:
    """Several of them, by the name of their queue; see :func:`read_definition`."""
    return [read_definition(name, each) for name, each in data.items()]


def _keep(said: int | Keep | None) -> Keep | None:
    return Keep(count=said) if isinstance(said, int) else said
