"""How a queue is worked: as data. A queue nobody declared is worked with the defaults."""

from dataclasses import dataclass, field
from typing import Final

from jobcast.shared.errors import BadSettings
from jobcast.shared.names import check_queue_name
from jobcast.shared.options import Backoff, Keep
from jobcast.worker.breaker import Breaker
from jobcast.worker.classify import ErrorRule

MOST_AT_ONCE: Final = 1000
"""Jobs of one queue in one process; each holds a slot, a lock and maybe a thread."""
DAY: Final = 24 * 3600


@dataclass(frozen=True, slots=True)
class Limiter:
    """At most ``count`` jobs of the queue are started per ``duration`` ms, over all workers together."""

    count: int
    duration: int


@dataclass(frozen=True, slots=True)
class QueueDefinition:
    """How one queue is worked.

    ``attempts`` and ``backoff`` hold for jobs that say nothing of their own; so do ``keep_completed`` and
    ``keep_failed``, how long BullMQ keeps a finished job: without a bound it would be for ever.
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
    attempts: int = 1
    backoff: Backoff | None = None
    keep_completed: Keep = field(default_factory=lambda: Keep(age=DAY, count=1000))
    keep_failed: Keep = field(default_factory=lambda: Keep(age=7 * DAY, count=5000))
    limiter: Limiter | None = None
    max_stalled_count: int = 1
    errors: tuple[ErrorRule, ...] = ()
    dead_letter: str | None = None
    breaker: Breaker | None = None

    def __post_init__(self) -> None:
        check_queue_name(self.name)
        for what, value, most in (("concurrency", self.concurrency, MOST_AT_ONCE), ("attempts", self.attempts, 1000)):
            if not 1 <= value <= most:
                raise BadSettings(f"expected {what} of queue {self.name} from 1 to {most}, got {value}")
        if not 0 <= self.max_stalled_count <= 1000:
            raise BadSettings(
                f"expected max_stalled_count of queue {self.name} from 0 to 1000, got {self.max_stalled_count}"
            )
        if self.dead_letter is not None and check_queue_name(self.dead_letter) == self.name:
            raise BadSettings(f"expected another queue for the dead letters of queue {self.name} than itself")
        if self.limiter is not None and (self.limiter.count < 1 or self.limiter.duration < 1):
            raise BadSettings(f"expected a limiter of queue {self.name} above 0, got {self.limiter}")
