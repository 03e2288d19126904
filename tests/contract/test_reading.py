"""Reading: the state, what was missed since a position, the history, and the lists of a queue."""

import asyncio

import pytest

from jobcast.shared.errors import BadRequest
from jobcast.shared.journal import Journal, Life
from jobcast.shared.position import LARGEST_SEQ, Position
from tests.contract.conftest import Kept, OpenJournal
from tests.contract.jobs import bring, completed, log, new_id, progress, queued, started


async def here(journal: Journal, job_id: str) -> Position:
    """The job's present position."""
    position = (await journal.read(job_id)).position
    assert position is not None
    return position


async def test_a_job_nobody_has_heard_of_has_no_record(journal: Journal) -> None:
    for reading in (await journal.read("nobody"), await journal.read("nobody", Position("abc", 3))):
        assert (reading.position, reading.fields, list(reading.missed)) == (None, {}, [])
        assert not reading.recovered
    assert await journal.history("nobody") == []


async def test_the_record_keeps_the_latest_event_of_each_kind_whole(journal: Journal) -> None:
    job_id = new_id()
    await bring(journal, job_id, "active")
    for percent in (1, 2, 3):
        await journal.append(progress(job_id, percent=percent))
    await journal.append(log(job_id))
    await journal.append(completed(job_id))
    fields = (await journal.read(job_id)).fields
    kinds = {name for name in fields if name.startswith("event:")}
    assert kinds == {f"event:job-{kind}" for kind in ("queued", "queue-to-start", "progress", "completed")}
    assert b'"percent":3' in fields["event:job-progress"]
    assert fields["event:job-completed"] in (await journal.history(job_id))[-1].wire


async def test_a_flood_of_progress_pushes_no_state_out_of_the_record(open_journal: OpenJournal) -> None:
    journal = open_journal(Life(history=16)).journal
    job_id = new_id()
    await bring(journal, job_id, "active")
    for _ in range(300):
        await journal.append(progress(job_id))
    assert min(entry.seq for entry in await journal.history(job_id)) > 2
    assert "event:job-queued" in (await journal.read(job_id)).fields


async def test_reading_from_each_position_brings_exactly_what_was_missed(journal: Journal) -> None:
    job_id = new_id()
    await bring(journal, job_id, "completed")
    epoch = (await here(journal, job_id)).epoch
    history = await journal.history(job_id)
    for seq in range(4):
        reading = await journal.read(job_id, Position(epoch, seq))
        assert reading.recovered
        assert list(reading.missed) == history[seq:]


async def test_a_position_of_another_epoch_is_not_recovered(journal: Journal) -> None:
    job_id = new_id()
    await bring(journal, job_id, "active")
    for seq in (0, 1, 2):
        reading = await journal.read(job_id, Position("other", seq))
        assert not reading.recovered
        assert list(reading.missed) == []
        assert reading.fields["state"] == b"active"


async def test_a_position_beyond_the_end_is_not_recovered(journal: Journal) -> None:
    job_id = new_id()
    await bring(journal, job_id, "active")
    epoch = (await here(journal, job_id)).epoch
    for seq in (3, 1000, LARGEST_SEQ):
        assert not (await journal.read(job_id, Position(epoch, seq))).recovered


async def test_a_position_whose_next_event_was_trimmed_away_is_not_recovered(open_journal: OpenJournal) -> None:
    journal = open_journal(Life(history=16)).journal
    job_id = new_id()
    await bring(journal, job_id, "active")
    for _ in range(300):
        await journal.append(progress(job_id))
    kept = [entry.seq for entry in await journal.history(job_id)]
    assert kept == list(range(kept[0], 303))
    assert 16 <= len(kept) <= 16 + 100, "trimmed to about what was asked for"
    epoch = (await here(journal, job_id)).epoch
    assert (await journal.read(job_id, Position(epoch, kept[0] - 1))).recovered
    assert not (await journal.read(job_id, Position(epoch, kept[0] - 2))).recovered
    assert not (await journal.read(job_id, Position(epoch, 0))).recovered


async def test_the_history_is_oldest_first_and_ends_with_the_last(journal: Journal) -> None:
    job_id = new_id()
    await bring(journal, job_id, "completed")
    assert [entry.seq for entry in await journal.history(job_id, limit=3)] == [1, 2, 3]
    assert [entry.seq for entry in await journal.history(job_id, limit=2)] == [2, 3]


async def test_many_jobs_are_read_in_the_order_asked_for(journal: Journal) -> None:
    first, second = new_id(), new_id()
    await bring(journal, first, "active")
    await bring(journal, second, "failed")
    readings = await journal.read_many([second, "nobody", first])
    assert [reading.fields.get("state") for reading in readings] == [b"failed", None, b"active"]
    assert await journal.read_many([]) == []


async def test_a_queue_lists_its_jobs_by_last_change(journal: Journal) -> None:
    for job_id in ("a", "b", "c"):
        await journal.append(queued(job_id))
        await asyncio.sleep(0.002)
    await journal.append(started("a"))
    await journal.append(queued("elsewhere", queue="songs"))
    page = await journal.jobs("films")
    assert (page.job_ids, page.cursor) == (["a", "c", "b"], None)
    assert (await journal.jobs("no-such-queue")).job_ids == []


@pytest.mark.parametrize("pause", [0, 0.002], ids=["in the same millisecond", "one after the other"])
async def test_pages_leave_no_job_out_that_stands_still_while_others_change(journal: Journal, pause: float) -> None:
    ids = [f"j{number:02}" for number in range(20)]
    if pause:
        for job_id in ids:
            await journal.append(queued(job_id))
            await asyncio.sleep(pause)
    else:
        await asyncio.gather(*(journal.append(queued(job_id)) for job_id in ids))
    page = await journal.jobs("films", limit=6)
    seen = list(page.job_ids)
    while page.cursor is not None:
        await asyncio.sleep(0.002)
        for job_id in page.job_ids[:2]:
            await journal.append(started(job_id))
        page = await journal.jobs("films", limit=6, cursor=page.cursor)
        seen += page.job_ids
    assert sorted(seen) == ids


async def test_the_last_page_is_told_even_when_it_is_full(journal: Journal) -> None:
    for job_id in ("a", "b", "c", "d"):
        await journal.append(queued(job_id))
    first = await journal.jobs("films", limit=2)
    assert first.cursor is not None
    second = await journal.jobs("films", limit=2, cursor=first.cursor)
    assert second.cursor is None
    assert sorted(first.job_ids + second.job_ids) == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "-1", "*", "(5", "1:", "1:a", "1\n", "١٢", "9" * 5000, "9" * 16, "\r\n", "1 2"],
)
async def test_a_cursor_of_no_page_is_refused_by_name(journal: Journal, cursor: str) -> None:
    await journal.append(queued("a"))
    with pytest.raises(BadRequest, match="expected a cursor from an earlier page"):
        await journal.jobs("films", cursor=cursor)


async def test_queues_are_listed_last_changed_first(kept: Kept) -> None:
    assert await kept.journal.queues() == []
    for queue in ("films", "songs", "books"):
        await kept.journal.append(queued(new_id(), queue=queue))
        await asyncio.sleep(0.002)
    await kept.journal.append(queued(new_id(), queue="films"))
    assert await kept.journal.queues() == ["films", "books", "songs"]
    kept.forget()
    assert await kept.journal.queues() == []
