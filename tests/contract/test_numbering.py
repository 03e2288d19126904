"""Numbers, keys and lives: each event once, counted without a hole, in the life it belongs to."""

import asyncio

import pytest

from jobcast.shared.errors import BadRequest, PayloadTooLarge, Refused
from jobcast.shared.events import JobCompleted, decode
from jobcast.shared.journal import Journal, Writer
from jobcast.shared.journal.contract import Key
from tests.contract.conftest import Kept
from tests.contract.jobs import (
    NOW,
    bring,
    cancelled,
    completed,
    failed,
    log,
    new_id,
    progress,
    queued,
    stalled,
    started,
    tried_again_at_once,
)


async def test_events_are_numbered_from_one_without_a_hole(journal: Journal) -> None:
    job_id = new_id()
    events = [queued(job_id), started(job_id), progress(job_id), log(job_id), stalled(job_id), completed(job_id)]
    answers = [await journal.append(event) for event in events]
    assert [answer.position.seq for answer in answers] == [1, 2, 3, 4, 5, 6]
    assert len({answer.position.epoch for answer in answers}) == 1
    assert [entry.seq for entry in await journal.history(job_id)] == [1, 2, 3, 4, 5, 6]


async def test_each_job_counts_for_itself(journal: Journal) -> None:
    first, second = new_id(), new_id()
    await bring(journal, first, "active")
    answer = await journal.append(queued(second))
    assert answer.position.seq == 1
    assert (await journal.read(first)).position != answer.position


async def test_a_hundred_writers_at_once_get_a_hundred_different_numbers(journal: Journal) -> None:
    job_id = new_id()
    await bring(journal, job_id, "active")
    answers = await asyncio.gather(*(journal.append(progress(job_id), key=Writer().key()) for _ in range(100)))
    assert sorted(answer.position.seq for answer in answers) == list(range(3, 103))


async def test_the_recorded_event_is_the_event_and_its_position(journal: Journal) -> None:
    job_id = new_id()
    event = progress(job_id, percent=42)
    position = (await journal.append(event)).position
    (entry,) = await journal.history(job_id)
    told = decode(entry.wire)
    assert (told.epoch, told.seq) == position
    assert entry.wire.startswith(f'["job-progress",{{"seq":1,"epoch":"{position.epoch}","jobId":'.encode())
    assert type(told) is type(event)
    assert (told.job_id, told.queue, told.attempt, told.timestamp) == (job_id, "films", 1, NOW)


async def test_the_same_key_twice_is_one_event(kept: Kept) -> None:
    job_id, key = new_id(), Key("w", 1)
    kept.follow(job_id, "films")
    first = await kept.journal.append(queued(job_id), key=key)
    again = await kept.journal.append(queued(job_id), key=key)
    assert (first.fresh, again.fresh) == (True, False)
    assert again.position == first.position
    assert len(await kept.journal.history(job_id)) == 1
    assert len(kept.heard()) == 2, "one event, on two channels"


async def test_a_retry_after_another_writers_event_answers_with_its_own_number(journal: Journal) -> None:
    job_id, ours, theirs = new_id(), Writer("ours"), Writer("theirs")
    await bring(journal, job_id, "active")
    key = ours.key()
    await journal.append(progress(job_id), key=key)
    await journal.append(log(job_id), key=theirs.key())
    again = await journal.append(progress(job_id), key=key)
    assert (again.fresh, again.position.seq) == (False, 3)
    assert (await journal.append(progress(job_id), key=ours.key())).position.seq == 5


async def test_two_writers_with_the_same_counts_are_told_apart(journal: Journal) -> None:
    job_id = new_id()
    await bring(journal, job_id, "active")
    answers = [await journal.append(progress(job_id), key=Key(name, n)) for n in (1, 2) for name in ("a", "b")]
    assert [answer.fresh for answer in answers] == [True] * 4


async def test_a_retry_of_the_event_that_ended_the_job_is_no_refusal(journal: Journal) -> None:
    for end in (completed, failed, cancelled, tried_again_at_once):
        job_id, key = new_id(), Key("w", 7)
        await bring(journal, job_id, "active")
        first = await journal.append(end(job_id), key=key)
        again = await journal.append(end(job_id), key=key)
        assert (again.fresh, again.position) == (False, first.position)


async def test_a_key_counts_within_its_attempt_only(journal: Journal) -> None:
    job_id = new_id()
    await bring(journal, job_id, "active")
    await journal.append(progress(job_id), key=Key("w", 9))
    answer = await journal.append(started(job_id, 2), key=Key("w", 1))
    assert (answer.fresh, answer.position.seq) == (True, 4)
    assert not (await journal.append(started(job_id, 2), key=Key("w", 1))).fresh


async def test_a_late_retry_from_an_attempt_that_is_past_is_not_recorded_twice(journal: Journal) -> None:
    job_id, key = new_id(), Key("w", 1)
    await bring(journal, job_id, "active")
    await journal.append(progress(job_id), key=key)
    await journal.append(started(job_id, 2), key=Key("v", 1))
    with pytest.raises(Refused, match="stale-attempt"):
        await journal.append(progress(job_id), key=key)
    assert len(await journal.history(job_id)) == 4


async def test_an_event_that_was_refused_does_not_use_up_its_key(journal: Journal) -> None:
    job_id, key = new_id(), Key("w", 1)
    await bring(journal, job_id, "waiting")
    with pytest.raises(Refused, match="out-of-order"):
        await journal.append(progress(job_id), key=key)
    await journal.append(started(job_id))
    assert (await journal.append(progress(job_id), key=key)).fresh


async def test_a_job_queued_again_under_an_old_id_begins_a_new_life(journal: Journal) -> None:
    job_id = new_id()
    old = await journal.append(queued(job_id), born=NOW)
    await journal.append(started(job_id), key=Key("w", 1))
    await journal.append(completed(job_id), key=Key("w", 2))
    new = await journal.append(queued(job_id), born=NOW + 5)
    assert new.fresh
    assert new.position.seq == 1
    assert new.position.epoch != old.position.epoch
    reading = await journal.read(job_id)
    assert reading.fields["state"] == b"waiting"
    assert "event:job-completed" not in reading.fields
    assert [entry.seq for entry in await journal.history(job_id)] == [1]
    assert (await journal.append(started(job_id), key=Key("w", 1))).fresh, "keys belong to the old life"


async def test_the_same_birth_told_twice_is_one_event_even_when_the_job_is_over(journal: Journal) -> None:
    job_id = new_id()
    await journal.append(queued(job_id), born=NOW)
    for make in (started, completed):
        await journal.append(make(job_id))
    again = await journal.append(queued(job_id), born=NOW)
    assert (again.fresh, again.position.seq) == (False, 3)
    assert (await journal.read(job_id)).fields["state"] == b"completed"


async def test_a_live_record_gives_way_to_a_younger_life_and_not_to_an_older_one(journal: Journal) -> None:
    job_id = new_id()
    first = await journal.append(queued(job_id), born=NOW)
    await journal.append(started(job_id))
    with pytest.raises(Refused) as caught:
        await journal.append(queued(job_id), born=NOW - 1)
    assert (caught.value.reason, caught.value.state) == ("superseded", "active")
    younger = await journal.append(queued(job_id), born=NOW + 1)
    assert younger.position.epoch != first.position.epoch


async def test_a_new_life_may_belong_to_another_queue(journal: Journal) -> None:
    job_id = new_id()
    await journal.append(queued(job_id), born=NOW)
    await journal.append(started(job_id))
    await journal.append(completed(job_id))
    await journal.append(queued(job_id, queue="songs"), born=NOW + 1)
    assert (await journal.jobs("songs")).job_ids == [job_id]
    assert (await journal.jobs("films", live=True)).job_ids == []


async def test_a_journal_that_forgot_counts_anew_under_another_epoch(kept: Kept) -> None:
    job_id = new_id()
    await bring(kept.journal, job_id, "active")
    before = (await kept.journal.read(job_id)).position
    assert before is not None
    kept.forget()
    assert (await kept.journal.read(job_id)).position is None
    assert (await kept.journal.append(progress(job_id))).position.seq == 1
    after = await kept.journal.read(job_id, before)
    assert after.position is not None
    assert after.position.epoch != before.epoch
    assert not after.recovered


async def test_what_cannot_be_recorded_leaves_no_trace(journal: Journal) -> None:
    job_id = new_id()
    await bring(journal, job_id, "active")

    def with_result(result: object) -> JobCompleted:
        return JobCompleted(
            job_id=job_id, queue="films", attempt=1, timestamp=NOW, result=result, processing_time=1, total_time=1
        )

    with pytest.raises(BadRequest):
        await journal.append(with_result(object()))
    with pytest.raises(PayloadTooLarge):
        await journal.append(with_result("x" * 65536))
    assert (await journal.read(job_id)).fields["state"] == b"active"
    assert len(await journal.history(job_id)) == 2
