"""Flows run by workers within the test, and what was told of their jobs."""

from typing import Any

from jobcast.shared.events import Event, JobProgress
from jobcast.shared.flow_tree import FlowJob
from jobcast.shared.flows import JobFlows
from jobcast.shared.snapshot import Snapshot, build
from tests.support.waiting import wait_until
from tests.worker.conftest import Bench


async def submit(bench: Bench, tree: dict[str, Any]) -> FlowJob:
    return await JobFlows(bench.queues, bench.journal).submit(tree)


def node(queue: str, name: str = "go", *children: dict[str, Any], data: Any = None, **opts: Any) -> dict[str, Any]:
    return {"queue": queue, "name": name, "data": data, "opts": opts, "children": list(children)}


async def snapshot(bench: Bench, job_id: str) -> Snapshot:
    return build(job_id, await bench.journal.read(job_id))


async def shows(bench: Bench, job_id: str, percent: float | None, timeout: float = 5.0) -> Snapshot:
    """The job's snapshot, once it is so far."""

    async def there() -> Snapshot | None:
        found = await snapshot(bench, job_id)
        return found if found.percent == percent else None

    found = await wait_until(there, timeout, f"{percent} % of job {job_id}")
    assert found is not None
    return found


def percents(events: list[Event]) -> list[float]:
    return [event.percent for event in events if isinstance(event, JobProgress) and event.percent is not None]


def counts(shown: Snapshot) -> dict[str, int]:
    """The states of a parent's children, by number."""
    assert isinstance(shown.children, dict), f"job {shown.job_id} has no children"
    return shown.children


async def is_in_state(bench: Bench, job_id: str, state: str, timeout: float = 5.0) -> None:
    """Wait until the journal says so."""

    async def is_so() -> bool:
        return (await snapshot(bench, job_id)).state == state

    await wait_until(is_so, timeout, f"job {job_id} to be {state}")
