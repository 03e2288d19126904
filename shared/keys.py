"""Every Redis name the project uses.

A job's keys share the hash tag ``{jobId}``. The queue's index does not, and the append step touches both: on
Redis Cluster an append would be refused as a cross-slot script, so the journal asks for a Redis that is not
clustered (BullMQ's own bulk and flow calls ask for the same).
"""

import re
from dataclasses import dataclass

from jobcast.shared.errors import BadSettings

_PREFIX = re.compile(r"[A-Za-z0-9_.-]{1,32}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Keys:
    """The names below one prefix, so that several installations can share a Redis."""

    prefix: str = "jobcast"

    def __post_init__(self) -> None:
        if _PREFIX.fullmatch(self.prefix) is None:
            raise BadSettings(f"expected a key prefix of 1 to 32 letters, digits and _ . -, got {self.prefix!r}")

    def state(self, job_id: str) -> str:
        """Hash: the job's present state, and the latest event of each kind, whole."""
        return f"{self.prefix}:{{{job_id}}}:state"

    def history(self, job_id: str) -> str:
        """Stream: the job's last events; the entry id is ``<seq>-0``."""
        return f"{self.prefix}:{{{job_id}}}:history"

    def channel(self, job_id: str) -> str:
        """Channel: each event of the job as it is recorded."""
        return f"{self.prefix}:{{{job_id}}}"

    def queue_channel(self, queue: str) -> str:
        """Channel: each event of every job of the queue."""
        return f"{self.prefix}:queue:{{{queue}}}"

    def queue_state(self, queue: str) -> str:
        """Hash: the position of the queue's last event, whichever job's it was."""
        return f"{self.prefix}:queue:{{{queue}}}:state"

    def queue_index(self, queue: str) -> str:
        """Sorted set: the queue's jobs by the number that their last event has in the queue."""
        return f"{self.prefix}:queue:{{{queue}}}:jobs"

    def queue_live(self, queue: str) -> str:
        """Sorted set: those of them that are not over, which a thousand finished ones must not hide."""
        return f"{self.prefix}:queue:{{{queue}}}:live"

    def queue_circuit(self, queue: str) -> str:
        """Hash: the state of the queue's circuit breaker, where it has one."""
        return f"{self.prefix}:queue:{{{queue}}}:circuit"

    def schedule_lock(self, queue: str, schedule_id: str) -> str:
        """String: somebody is changing this schedule; it lives for seconds."""
        return f"{self.prefix}:queue:{{{queue}}}:schedule:{schedule_id}:lock"

    def queues(self) -> str:
        """Sorted set: the queues that ever had an event, by the time of the last one (Unix ms)."""
        return f"{self.prefix}:queues"

    def workers(self) -> str:
        """Hash: the last heartbeat of each worker process, as ``<count>:<Unix ms>:<queue>,<queue>``."""
        return f"{self.prefix}:workers"

    def looked(self) -> str:
        """String: written and deleted by each look at the heartbeats, to see whether Redis takes writes."""
        return f"{self.prefix}:looked"

    def stalled(self) -> str:
        """Number: the jobs that were ever told as stalled, by whomever."""
        return f"{self.prefix}:stalled"

    def streams(self) -> str:
        """Hash: up to which entry BullMQ's stream of events was read, for each queue; see ``strangers``."""
        return f"{self.prefix}:streams"

    def queue_definition(self, queue: str) -> str:
        """Hash: how the worker that started last works the queue, a JSON value for each word."""
        return f"{self.prefix}:queue:{{{queue}}}:definition"

    def troubles(self) -> str:
        """List: ``<event> <queue> <attempt> <id>`` of jobs that failed for good or stalled and are no alerts yet."""
        return f"{self.prefix}:troubles"

    def alerts(self, part: str) -> str:
        """What the outbox of alerts is kept in; see ``shared.alerts.outbox``."""
        return f"{self.prefix}:{{alerts}}:{part}"

    def lease(self, name: str) -> str:
        """String: who does what one process at a time does; see ``shared.lease``."""
        return f"{self.prefix}:lease:{name}"

    def cached(self, key: str) -> str:
        """String: a result of some job, as JSON, for as long as it was said to be good."""
        return f"{self.prefix}:cached:{key}"
