"""A flow as a tree of data, and what a tree must be to be added whole. Pure.

    {"queue": "reports", "name": "aggregate-results", "children": [
        {"queue": "orders", "name": "fetch-orders", "data": {"user": 7}, "opts": {"weight": 3}},
        {"queue": "balances", "name": "fetch-balances", "data": {"user": 7}}]}

A child that fails keeps its parent waiting until it is tried again, unless its options say otherwise, in BullMQ's
words: the parent fails (``failParentOnFailure``), goes on at once (``continueParentOnFailure``), or no longer waits for
it, told of the failure (``ignoreDependencyOnFailure``) or not (``removeDependencyOnFailure``).
"""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import msgspec

from jobcast.shared.errors import BadRequest, JobcastError
from jobcast.shared.names import check_job_name, check_new_job_id, check_queue_name
from jobcast.shared.options import JobOptions
from jobcast.shared.rollup import HEAVIEST

MOST_JOBS: Final = 10_000
"""Jobs of one flow. They are added in one step, in which Redis serves nobody else."""
DEEPEST: Final = 10
"""Generations of one flow."""
_FIELDS: Final = {"queue", "name", "data", "opts", "children"}
_ON_FAILURE: Final = {
    "fail_parent_on_failure": "failParentOnFailure",
    "continue_parent_on_failure": "continueParentOnFailure",
    "ignore_dependency_on_failure": "ignoreDependencyOnFailure",
    "remove_dependency_on_failure": "removeDependencyOnFailure",
}


class FlowOptions(JobOptions, frozen=True):
    """``weight``: what the job counts among the children of its parent (1). ``children_share``: how much of its own
    progress its children make up (0.9)."""

    weight: Annotated[float, msgspec.Meta(ge=0, le=HEAVIEST)] | None = None
    children_share: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    fail_parent_on_failure: bool | None = None
    continue_parent_on_failure: bool | None = None
    ignore_dependency_on_failure: bool | None = None
    remove_dependency_on_failure: bool | None = None


@dataclass(frozen=True, slots=True)
class Flow:
    """A job and those it waits for."""

    queue: str
    name: str
    data: Any = field(default_factory=dict)
    options: FlowOptions = field(default_factory=FlowOptions)
    children: Sequence["Flow"] = ()


class FlowJob(msgspec.Struct, frozen=True, rename="camel"):
    """A job of a flow that was added."""

    job_id: str
    queue: str
    name: str
    children: list["FlowJob"]


def read_flow(given: object, at: str = "", depth: int = 1) -> Flow:
    """Read a tree ``{queue, name, data?, opts?, children?}`` as a caller sent it; :func:`check_flow` says the rest.

    Raises:
        BadRequest: the sentence begins with the place in the tree: ``children[2].children[0]: ...``.
    """
    with _at(at):
        if depth > DEEPEST:
            raise BadRequest(f"a flow has at most {DEEPEST} generations")
        if not isinstance(given, Mapping):
            expected = "an object {queue, name, data?, opts?, children?}"
            raise BadRequest(f"expected {expected}, got {type(given).__name__}")
        if unknown := sorted(str(name) for name in set(given) - _FIELDS):
            told = ", ".join(unknown)[:200]
            raise BadRequest(f"expected only queue, name, data, opts and children; got also {told}")
        below = given.get("children", [])
        if not isinstance(below, list | tuple):
            raise BadRequest(f"expected children as a list, got {type(below).__name__}")
        options = _read_options(given.get("opts"))
    children = [read_flow(child, _below(at, number), depth + 1) for number, child in enumerate(below)]
    return Flow(given.get("queue", ""), given.get("name", ""), given.get("data", {}), options, children)


def _read_options(given: object) -> FlowOptions:
    if given is None:
        return FlowOptions()
    if not isinstance(given, Mapping):
        raise BadRequest(f"expected opts as an object, got {type(given).__name__}")
    try:
        return msgspec.convert(given, FlowOptions)
    except msgspec.ValidationError as error:
        raise BadRequest(f"opts: {str(error)[:200]}") from error


def check_flow(flow: Flow) -> None:
    """Refuse a tree that cannot be added whole.

    Raises:
        BadRequest, BadQueueName, BadJobId: the sentence begins with the place in the tree.
    """
    ids: dict[str, str] = {}
    for count, (at, depth, node) in enumerate(_walk(flow), start=1):
        if count > MOST_JOBS:
            raise BadRequest(f"a flow has at most {MOST_JOBS} jobs")
        with _at(at):
            if depth > DEEPEST:
                raise BadRequest(f"a flow has at most {DEEPEST} generations")
            check_queue_name(node.queue)
            check_job_name(node.name)
            _check_options(node, is_root=depth == 1)
            if (job_id := node.options.job_id) is not None:
                check_new_job_id(job_id)
                if job_id in ids:
                    raise BadRequest(f"job id {job_id} is that of {ids[job_id] or 'the root'} as well")
                ids[job_id] = at
            try:
                json.dumps(node.data, allow_nan=False)
            except (TypeError, ValueError, OverflowError, RecursionError) as error:
                raise BadRequest(f"its data cannot be written as JSON: {error}") from error


def _check_options(node: Flow, *, is_root: bool) -> None:
    options = node.options
    if options.deduplication is not None:
        raise BadRequest("a job of a flow cannot be de-duplicated, its parent would wait for another; give it a jobId")
    said = [word for name, word in _ON_FAILURE.items() if getattr(options, name)]
    if len(said) > 1:
        raise BadRequest(f"expected one of {', '.join(said)}: one thing can happen to its parent")
    if is_root and (said or options.weight is not None):
        raise BadRequest(f"{(said or ['weight'])[0]} is for a job with a parent")
    if options.children_share is not None and not node.children:
        raise BadRequest("childrenShare is for a job with children")


def _walk(flow: Flow, at: str = "", depth: int = 1) -> Iterator[tuple[str, int, Flow]]:
    """Each job after its parent, with its place in the tree and its generation."""
    yield at, depth, flow
    for number, child in enumerate(flow.children):
        yield from _walk(child, _below(at, number), depth + 1)


def _below(at: str, number: int) -> str:
    return f"{at}.children[{number}]" if at else f"children[{number}]"


@contextlib.contextmanager
def _at(place: str) -> Iterator[None]:
    """Errors of the block begin with the place; the root needs none."""
    try:
        yield
    except JobcastError as error:
        if not place:
            raise
        raise type(error)(f"{place}: {error}") from error
