"""The state law, row by row: what is taken where, as the protocol says it and not as the code does."""

import pytest

from jobcast.shared.errors import Refused
from jobcast.shared.journal import Journal
from tests.contract.jobs import (
    EVERY_EVENT,
    NOW,
    PATHS,
    Maker,
    bring,
    cancelled,
    children_progress,
    completed,
    delayed,
    failed,
    new_id,
    progress,
    queued,
    started,
    tried_again_later,
    with_children,
)

# Written out a second time on purpose: a slip in the table of the code must not be the judge of itself.
MAY_FOLLOW = {
    "job-queued": set(),
    "job-queue-to-start": {"waiting", "delayed", "waiting-children"},
    "job-progress": {"active", "stalled"},
    "job-log": {"active", "stalled"},
    "children-progress": {"waiting-children"},
    "job-stalled": {"active"},
    "job-completed": {"active", "stalled"},
    "job-failed": {"waiting", "delayed", "waiting-children", "active", "stalled"},
    "job-cancelled": {"waiting", "delayed", "waiting-children", "active", "stalled"},
}
LEADS_TO = {
    "job-queued": "waiting",
    "job-queue-to-start": "active",
    "job-progress": "active",
    "job-log": "active",
    "children-progress": "waiting-children",
    "job-stalled": "stalled",
    "job-completed": "completed",
    "job-failed": "failed",
    "job-cancelled": "cancelled",
}
ATTEMPT_OVER = {
    "completed",
    "failed",
    "cancelled",
    "waiting after a failed try",
    "delayed after a failed try",
}
EVERY_ROW = {**EVERY_EVENT, "children-progress": children_progress}
ROWS = [pytest.param(event, path, id=f"{event} when {path}") for event in EVERY_ROW for path in PATHS]


async def outcome(journal: Journal, job_id: str, event: str, attempt: int) -> str:
    """Append and say what came of it, after holding the record to the answer."""
    before = await journal.read(job_id)
    history = await journal.history(job_id)
    try:
        answer = await journal.append(EVERY_ROW[event](job_id, attempt))
    except Refused as refused:
        said, state = refused.reason, refused.state
        assert state == before.fields["state"].decode()
    else:
        said = "taken" if answer.fresh else "again"
        assert before.position is not None
        assert answer.position == (before.position.epoch, before.position.seq + answer.fresh)
    after = await journal.read(job_id)
    if said == "taken":
        assert after.fields["state"].decode() == LEADS_TO[event]
        assert int(after.fields["attempt"]) == attempt
        assert len(await journal.history(job_id)) == len(history) + 1
    else:
        assert {**after.fields, "at": b""} == {**before.fields, "at": b""}
        assert await journal.history(job_id) == history
    return said


@pytest.mark.parametrize(("event", "path"), ROWS)
async def test_an_event_of_the_same_attempt_is_taken_where_the_law_says(
    journal: Journal, event: str, path: str
) -> None:
    job_id = new_id()
    await bring(journal, job_id, path)
    if event == "job-queued":
        expected = "taken" if path in {"waiting-children", "delayed"} else "again"
    elif path in ATTEMPT_OVER:
        expected = "closed"
    else:
        expected = "taken" if path in MAY_FOLLOW[event] else "out-of-order"
    assert await outcome(journal, job_id, event, 1) == expected


@pytest.mark.parametrize(("event", "path"), ROWS)
async def test_an_event_of_an_older_attempt_is_never_taken(journal: Journal, event: str, path: str) -> None:
    job_id = new_id()
    await bring(journal, job_id, path, attempt=3)
    expected = "again" if event == "job-queued" else "stale-attempt"
    assert [await outcome(journal, job_id, event, attempt) for attempt in (1, 2)] == [expected] * 2


@pytest.mark.parametrize(("event", "path"), ROWS)
async def test_an_event_of_a_newer_attempt_opens_the_job_again(journal: Journal, event: str, path: str) -> None:
    job_id = new_id()
    await bring(journal, job_id, path)
    assert await outcome(journal, job_id, event, 2) == "taken"


@pytest.mark.parametrize("event", EVERY_ROW)
async def test_any_event_may_begin_a_record_that_was_lost(journal: Journal, event: str) -> None:
    job_id = new_id()
    answer = await journal.append(EVERY_ROW[event](job_id, 2))
    assert (answer.fresh, answer.position.seq) == (True, 1)
    assert (await journal.read(job_id)).fields["state"].decode() == LEADS_TO[event]


async def test_a_stalled_job_that_speaks_again_is_active(journal: Journal) -> None:
    for event in ("job-progress", "job-log"):
        job_id = new_id()
        await bring(journal, job_id, "stalled")
        assert await outcome(journal, job_id, event, 1) == "taken"


async def test_a_refusal_says_event_job_reason_and_state_in_one_sentence(journal: Journal) -> None:
    await bring(journal, "told", "completed")
    with pytest.raises(Refused) as caught:
        await journal.append(progress("told"))
    assert str(caught.value) == "job-progress of job told was refused as closed: the job is completed"


async def test_a_job_of_another_queue_is_refused(journal: Journal) -> None:
    job_id = new_id()
    await bring(journal, job_id, "active")
    for event in (progress(job_id, queue="songs"), queued(job_id, 2, "songs"), started(job_id, 2, "songs")):
        with pytest.raises(Refused) as caught:
            await journal.append(event)
        assert (caught.value.reason, caught.value.state) == ("other-queue", "active")


async def test_a_retried_job_goes_through_all_its_states_again(journal: Journal) -> None:
    job_id = new_id()
    for make, attempt in (
        (queued, 1), (started, 1), (tried_again_later, 1),
        (started, 2), (completed, 2),
        (queued, 3), (started, 3), (cancelled, 3),
    ):  # fmt: skip
        assert (await journal.append(make(job_id, attempt))).fresh
    assert (await journal.read(job_id)).fields["state"] == b"cancelled"
    assert [entry.seq for entry in await journal.history(job_id)] == list(range(1, 9))


async def test_a_delayed_job_that_is_queued_without_a_delay_waits_and_keeps_its_request_to_cancel(
    journal: Journal,
) -> None:
    job_id = new_id()
    await journal.append(queued(job_id, delay=60_000))
    await journal.request_cancel(job_id, "why")
    assert not (await journal.append(queued(job_id, delay=60_000))).fresh
    promoted = await journal.append(queued(job_id))
    assert (promoted.fresh, promoted.cancelling) == (True, "why")
    assert (await journal.read(job_id)).fields["state"] == b"waiting"
    assert not (await journal.append(queued(job_id))).fresh
    assert (await journal.append(started(job_id))).fresh
    assert not (await journal.append(queued(job_id))).fresh, "a promotion told late is no news"


async def test_a_job_that_waits_to_be_tried_again_is_promoted_as_its_next_attempt(journal: Journal) -> None:
    job_id = new_id()
    for make in (queued, started):
        await journal.append(make(job_id))
    await journal.append(failed(job_id, final=False, retry_at=NOW + 60_000))
    assert (await journal.read(job_id)).fields["state"] == b"delayed"
    assert not (await journal.append(queued(job_id))).fresh, "that attempt is over"
    assert (await journal.append(queued(job_id, 2))).fresh
    assert (await journal.read(job_id)).fields["state"] == b"waiting"


@pytest.mark.parametrize(("move", "state"), [(queued, b"waiting"), (delayed, b"delayed")])
async def test_a_job_that_waited_for_its_children_moves_on_once_and_keeps_its_request_to_cancel(
    journal: Journal, move: Maker, state: bytes
) -> None:
    job_id = new_id()
    await journal.append(with_children(job_id))
    await journal.request_cancel(job_id, "why")
    assert not (await journal.append(with_children(job_id))).fresh
    moved = await journal.append(move(job_id, 1))
    assert (moved.fresh, moved.cancelling) == (True, "why")
    assert (await journal.read(job_id)).fields["state"] == state
    for late in (with_children, move):
        assert not (await journal.append(late(job_id, 1))).fresh, "it does not go back, and moves once"
    assert (await journal.append(started(job_id))).fresh
    assert not (await journal.append(move(job_id, 1))).fresh, "told late it is no news"
