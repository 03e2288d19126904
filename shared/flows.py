"""Flows: a job with the jobs it waits for, across queues, added in one step and told of in the journal.

A tree (see ``flow_tree``) is checked whole before anything reaches Redis. A producer that dies before all is told
leaves no hole: the workers announce what they find, parents before children.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from jobcast.shared.clock import now_ms
from jobcast.shared.errors import Refused
from jobcast.shared.events import Children, JobQueued
from jobcast.shared.flow_tree import DEEPEST, Flow, FlowJob, check_flow, read_flow
from jobcast.shared.journal.contract import DAY_MS, Journal, Writer
from jobcast.shared.parents import WAITS_MS, share_of, weight_of
from jobcast.shared.queue import ANNOUNCED_AT_ONCE, JobQueues
from jobcast.shared.queue_flow import FlowNode, add_flow
from jobcast.shared.redis import unavailable


class JobFlows:
    """Adds flows to the queues."""

    def __init__(self, queues: JobQueues, journal: Journal) -> None:
        self._queues = queues
        self._journal = journal
        self._writer = Writer()
        self._last_birth = 0

    async def submit(self, tree: Flow | Mapping[str, Any]) -> FlowJob:
        """Add a flow, all of it or nothing, and say so in the journal; answers with the ids of its jobs.

        Raises:
            BadRequest, BadQueueName, BadJobId: refused before Redis; or an id is that of a job that is there.
            Unavailable: nothing was queued, or it is not known whether it was.
        """
        tree = tree if isinstance(tree, Flow) else read_flow(tree)
        check_flow(tree)
        # Of two flows under one id the births tell which is there.
        born = self._last_birth = max(now_ms(), self._last_birth + 1)
        planned = await self._plan(tree, born)
        await self._queues.check_free([(node.queue, node.job_id) for node, _ in planned if node.named])
        with unavailable():
            await add_flow(await self._queues.handle(tree.queue), [node for node, _ in planned])
        # Parents before their children: what is told of a child while its parent is unknown counts nowhere.
        for depth in range(1, DEEPEST + 1):
            generation = [_announcement(node, flow) for node, flow in planned if node.depth == depth]
            for start in range(0, len(generation), ANNOUNCED_AT_ONCE):
                await asyncio.gather(*map(self._announce, generation[start : start + ANNOUNCED_AT_ONCE]))
        return _answer(iter(planned))

    async def _plan(self, tree: Flow, born: int) -> list[tuple[FlowNode, Flow]]:
        """The jobs of a tree, each after its parent."""
        planned: list[tuple[FlowNode, Flow]] = []

        async def plan(flow: Flow, parent: FlowNode | None) -> None:
            options = flow.options
            opts = {
                **await self._queues.options_for(flow.queue, options, born),
                "jobId": options.job_id or uuid.uuid4().hex,
            }
            node = FlowNode(
                flow.queue,
                flow.name,
                flow.data,
                opts,
                parent,
                is_parent=bool(flow.children),
                named=options.job_id is not None,
            )
            planned.append((node, flow))
            for child in flow.children:
                await plan(child, node)

        await plan(tree, None)
        return planned

    async def _announce(self, event: JobQueued) -> None:
        life = (event.delay or 0) + DAY_MS if event.children is None else WAITS_MS
        with contextlib.suppress(Refused):  # a worker was quicker: what we had to say is already history
            await self._journal.append(event, key=self._writer.key(), born=event.timestamp, ttl=life)


def _announcement(node: FlowNode, flow: Flow) -> JobQueued:
    opts = node.opts
    return JobQueued(
        job_id=node.job_id,
        queue=node.queue,
        attempt=1,
        timestamp=opts["timestamp"],
        name=node.name,
        max_attempts=max(1, int(opts.get("attempts") or 1)),
        delay=None if node.is_parent else opts.get("delay") or None,
        priority=opts.get("priority") or None,
        parent_id=None if node.parent is None else node.parent.job_id,
        weight=weight_of(opts),
        children=_declared(flow, share_of(opts)),
    )


def _declared(flow: Flow, share: float) -> Children | None:
    weights = [child.options.weight for child in flow.children]
    if not weights:
        return None
    return Children(len(weights), share, sum(1.0 if weight is None else weight for weight in weights))


def _answer(planned: Iterator[tuple[FlowNode, Flow]]) -> FlowJob:
    """The tree of what was added, out of the list of it."""
    node, flow = next(planned)
    return FlowJob(node.job_id, node.queue, node.name, [_answer(planned) for _ in flow.children])
