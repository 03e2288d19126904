"""Requests to cancel: how a watcher's wish reaches whoever runs the job, and when it is forgotten."""

import pytest

from jobcast.shared.journal import Journal
from tests.contract.jobs import (
    NOW,
    PATHS,
    bring,
    cancelled,
    completed,
    failed,
    new_id,
    progress,
    queued,
    stalled,
    started,
    tried_again_later,
)

OVER = {"completed", "failed", "cancelled"}


@pytest.mark.parametrize("path", PATHS)
async def test_only_a_live_job_can_be_asked_to_stop(journal: Journal, path: str) -> None:
    job_id = new_id()
    await bring(journal, job_id, path)
    live = path not in OVER
    assert await journal.request_cancel(job_id, "too slow") is live
    assert await journal.cancel_requests([job_id]) == ["too slow" if live else None]


async def test_a_job_nobody_has_heard_of_cannot_be_asked_to_stop(journal: Journal) -> None:
    assert not await journal.request_cancel("nobody", "why")
    assert (await journal.read("nobody")).position is None
    assert await journal.cancel_requests(["nobody"]) == [None]
    assert await journal.cancel_requests([]) == []


async def test_a_request_without_a_reason_is_a_request_all_the_same(journal: Journal) -> None:
    job_id = new_id()
    await bring(journal, job_id, "active")
    assert await journal.request_cancel(job_id, "")
    assert await journal.cancel_requests([job_id]) == ["cancelled"]


async def test_whoever_appends_next_learns_of_the_request(journal: Journal) -> None:
    job_id = new_id()
    await bring(journal, job_id, "active")
    assert (await journal.append(progress(job_id))).cancelling is None
    await journal.request_cancel(job_id, "too slow")
    for make in (progress, stalled, progress, tried_again_later):
        assert (await journal.append(make(job_id))).cancelling == "too slow"
    assert (await journal.append(started(job_id, 2))).cancelling == "too slow", "a retry does not undo the wish"
    assert (await journal.read(job_id)).fields["cancel"] == b"too slow"


async def test_a_duplicate_is_told_of_the_request_too(journal: Journal) -> None:
    job_id = new_id()
    await bring(journal, job_id, "active")
    await journal.request_cancel(job_id, "too slow")
    assert (await journal.append(queued(job_id))).cancelling == "too slow"


@pytest.mark.parametrize("end", [completed, failed, cancelled])
async def test_the_request_ends_with_the_job(journal: Journal, end: type) -> None:
    job_id = new_id()
    await bring(journal, job_id, "active")
    await journal.request_cancel(job_id, "too slow")
    assert (await journal.append(end(job_id))).cancelling is None
    assert await journal.cancel_requests([job_id]) == [None]
    assert "cancel" not in (await journal.read(job_id)).fields


async def test_a_job_queued_anew_is_not_asked_to_stop(journal: Journal) -> None:
    retried, reborn = new_id(), new_id()
    for job_id in (retried, reborn):
        await journal.append(queued(job_id), born=NOW)
        await journal.request_cancel(job_id, "too slow")
    assert (await journal.append(queued(retried, 2))).cancelling is None
    assert (await journal.append(queued(reborn), born=NOW + 1)).cancelling is None
    assert await journal.cancel_requests([retried, reborn]) == [None, None]
