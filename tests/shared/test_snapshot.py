"""Snapshots: what a client that comes late is told, in each state a job can be in."""

import json
from typing import Any

import msgspec
import pytest

from jobcast.shared.events import JobProgress, JobQueued
from jobcast.shared.journal import MemoryJournal
from jobcast.shared.journal.contract import Reading
from jobcast.shared.snapshot import Snapshot, build
from tests.contract.jobs import (
    NOW,
    PATHS,
    bring,
    cancelled,
    completed,
    failed,
    log,
    progress,
    queued,
    started,
    tried_again_later,
)


async def after(*events: Any, cancel: bool = False) -> Snapshot:
    """The snapshot of job j once these have happened."""
    journal = MemoryJournal()
    for event in events:
        await journal.append(event)
    if cancel:
        assert await journal.request_cancel("j", "why")
    return build("j", await journal.read("j"))


def told(snapshot: Snapshot) -> dict[str, Any]:
    """The snapshot as it stands on the wire."""
    found: dict[str, Any] = json.loads(msgspec.json.encode(snapshot))
    return found


ALWAYS = {
    "jobId", "queue", "name", "state", "attempt", "maxAttempts", "progress", "percent", "details", "stage", "queuedAt",
    "startedAt", "finishedAt", "queueToStartTime", "processingTime", "totalTime", "heartbeatAt", "worker", "epoch",
    "seq", "recovered",
}  # fmt: skip


def test_a_job_nobody_has_heard_of_is_unknown() -> None:
    snapshot = told(build("j", Reading(None, {})))
    assert set(snapshot) == ALWAYS
    assert {name: value for name, value in snapshot.items() if value is not None} == {
        "jobId": "j", "state": "unknown", "attempt": 0, "seq": 0, "recovered": False,
    }  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
async def test_the_snapshot_tells_the_state_and_the_position_of_the_record(path: str) -> None:
    journal = MemoryJournal()
    await bring(journal, "j", path)
    reading = await journal.read("j")
    snapshot = told(build("j", reading, recovered=True))
    assert snapshot["state"] == path.partition(" ")[0]
    assert (snapshot["epoch"], snapshot["seq"]) == reading.position
    assert set(snapshot) - ALWAYS <= {"result", "error", "children"}
    assert ("result" in snapshot) == (path == "completed")
    assert ("error" in snapshot) == ("failed" in path)
    assert (snapshot["finishedAt"] is not None) == (path in {"completed", "failed", "cancelled"})
    assert snapshot["recovered"] is True


async def test_a_completed_job_is_told_whole() -> None:
    snapshot = told(await after(queued("j"), started("j"), progress("j", percent=40), log("j"), completed("j")))
    expected = {
        "queue": "films", "name": "encode", "state": "completed", "attempt": 1, "maxAttempts": 3, "progress": 40,
        "percent": 100, "result": {"ok": True}, "queuedAt": NOW, "startedAt": NOW, "finishedAt": NOW,
        "queueToStartTime": 5, "processingTime": 7, "totalTime": 0, "worker": "w1", "seq": 5,
    }  # fmt: skip
    assert {name: snapshot[name] for name in expected} == expected


async def test_a_job_asked_to_stop_is_cancelling_until_it_has_stopped() -> None:
    assert (await after(queued("j"), started("j"), cancel=True)).state == "cancelling"
    assert (await after(queued("j"), started("j"), cancelled("j"))).state == "cancelled"


async def test_a_new_attempt_shows_nothing_of_the_one_before() -> None:
    snapshot = told(
        await after(queued("j"), started("j"), progress("j", percent=80), failed("j"), queued("j", 2), started("j", 2))
    )
    assert (snapshot["state"], snapshot["attempt"]) == ("active", 2)
    assert [snapshot[name] for name in ("progress", "percent", "finishedAt", "processingTime")] == [None] * 4
    assert "error" not in snapshot


async def test_a_try_that_failed_shows_its_error_while_the_next_one_waits() -> None:
    snapshot = told(await after(queued("j"), started("j"), progress("j", percent=80), tried_again_later("j")))
    assert (snapshot["state"], snapshot["error"], snapshot["finishedAt"]) == ("delayed", "disk full", None)


async def test_the_time_left_is_told_only_while_the_job_runs() -> None:
    event = JobProgress(job_id="j", queue="films", attempt=1, timestamp=NOW, progress={"a": 1}, stage="s", eta=900)
    running = told(await after(queued("j"), started("j"), event))
    assert (running["eta"], running["stage"], running["progress"], running["percent"]) == (900, "s", {"a": 1}, None)
    assert "eta" not in told(await after(queued("j"), started("j"), event, completed("j")))


async def test_a_parent_is_told_only_where_there_is_one() -> None:
    child = JobQueued(job_id="j", queue="films", attempt=1, timestamp=NOW, name="n", max_attempts=1, parent_id="mother")
    assert told(await after(child))["parentId"] == "mother"
    assert "parentId" not in told(await after(queued("j")))


async def test_a_result_of_null_is_told_as_null_and_not_left_out() -> None:
    done = msgspec.structs.replace(completed("j"), result=None)
    assert told(await after(queued("j"), started("j"), done))["result"] is None


async def test_a_record_that_begins_in_the_middle_is_told_as_far_as_it_goes() -> None:
    snapshot = told(await after(progress("j", 3)))
    assert (snapshot["state"], snapshot["attempt"], snapshot["progress"]) == ("active", 3, 50)
    assert [snapshot[name] for name in ("name", "queuedAt", "startedAt", "maxAttempts", "worker")] == [None] * 5
