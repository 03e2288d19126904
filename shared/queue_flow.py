"""A tree of jobs into BullMQ in one step, by its own scripts.

``FlowProducer`` lends how a job of a flow is made; its ``add`` does not run. That one looks at what came of the root
alone: an id that is taken leaves a child out, or a parent that is over long since with a new child, without a word; and
it is sent again when its answer is lost.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from bullmq import Job
from bullmq.flow_producer import MinimalQueue
from redis.exceptions import ResponseError, WatchError

from jobcast.shared.errors import JobExists, Unavailable
from jobcast.shared.redis import unavailable

TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class FlowNode:
    """One job of a tree, in BullMQ's words. ``named``: its id is the caller's choice, and may be taken."""

    queue: str
    name: str
    data: Any
    opts: dict[str, Any]
    parent: "FlowNode | None"
    is_parent: bool
    named: bool

    @property
    def job_id(self) -> str:
        return str(self.opts["jobId"])

    @property
    def depth(self) -> int:
        """Its generation, from 1."""
        return 1 if self.parent is None else self.parent.depth + 1


async def add_flow(handle: Any, nodes: Sequence[FlowNode]) -> None:
    """Add the jobs, each after its parent and the root first: all of them or none.

    ``handle``: BullMQ's queue object of any queue. All carry one ``timestamp``, by which the root is known again.

    Raises:
        JobExists: an id is taken.
        Unavailable: nothing was added, or it is not known whether it was.
    """
    jobs = _jobs(handle, nodes)
    for _ in range(TRIES):
        with unavailable():
            try:
                await _try_to_add(handle, nodes, jobs)
            except WatchError as error:
                # An id was taken meanwhile, or the connection was lost and with it the answer.
                if await _is_added(handle, nodes[0]):
                    return
                lost = error
            else:
                return
    raise Unavailable(f"the flow could not be added: {lost}")


async def _try_to_add(handle: Any, nodes: Sequence[FlowNode], jobs: Sequence[Any]) -> None:
    keys = [job.backend.toKey(job.id) for job in jobs]
    named = [(key, node) for key, node in zip(keys, nodes, strict=True) if node.named]
    async with handle.client.pipeline(transaction=True) as pipe:
        # Watched also where no id is given: what is watched is not sent twice.
        await pipe.watch(keys[0], *(key for key, _ in named))
        for key, node in named:
            if await pipe.exists(key):
                raise JobExists(node.queue, node.job_id)
        pipe.multi()
        for job, node in zip(jobs, nodes, strict=True):
            scripts = job.backend.scripts
            await (scripts.addParentJob(job, pipe) if node.is_parent else scripts.addJob(job, pipe))
        answers = await pipe.execute(raise_on_error=False)
    wrong = [answer for answer, node in zip(answers, nodes, strict=True) if answer != node.job_id]
    if wrong:
        # Redis does not undo what came before: it ran out of memory half-way, say.
        await jobs[0].backend.remove(jobs[0].id, True)
        raise wrong[0] if isinstance(wrong[0], ResponseError) else Unavailable(f"BullMQ refused a job: {wrong[0]}")


def _jobs(handle: Any, nodes: Sequence[FlowNode]) -> list[Any]:
    queues: dict[str, Any] = {}
    jobs = []
    for node in nodes:
        opts = dict(node.opts)
        if node.parent is not None:
            opts["parent"] = {"id": node.parent.job_id, "queue": queues[node.parent.queue].qualifiedName}
        if node.queue not in queues:
            backend = handle.backend.forQueue(node.queue, handle.prefix)
            queues[node.queue] = MinimalQueue(node.queue, backend, {"prefix": handle.prefix})
        jobs.append(Job(queues[node.queue], node.name, node.data, opts, node.job_id))
    return jobs


async def _is_added(handle: Any, root: FlowNode) -> bool:
    born: str | None = await handle.client.hget(f"{handle.prefix}:{root.queue}:{root.job_id}", "timestamp")
    return born == str(root.opts["timestamp"])
