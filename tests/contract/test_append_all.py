"""Several events of one job in one step: the law and the answers of each are those it would have alone."""

import pytest

from jobcast.shared.errors import JobcastError, PayloadTooLarge, Refused
from jobcast.shared.events import Event, JobLog
from jobcast.shared.journal import Journal, Writer
from jobcast.shared.journal.contract import Appended
from tests.contract.jobs import NOW, bring, completed, log, new_id, progress, queued, started


def seqs(answers: list[Appended | Refused]) -> list[int | str]:
    return [answer.reason if isinstance(answer, Refused) else answer.position.seq for answer in answers]


async def test_they_are_recorded_in_their_order(journal: Journal) -> None:
    job_id = new_id()
    answers = await journal.append_all([queued(job_id), started(job_id), progress(job_id)], [None] * 3, born=NOW)
    assert seqs(answers) == [1, 2, 3]
    assert [entry.seq for entry in await journal.history(job_id)] == [1, 2, 3]
    reading = await journal.read(job_id)
    assert (reading.fields["state"], int(reading.fields["born"])) == (b"active", NOW)


async def test_what_is_known_already_does_not_keep_the_rest(journal: Journal) -> None:
    job_id = new_id()
    await journal.append(queued(job_id), born=NOW)
    first, second = await journal.append_all([queued(job_id), started(job_id)], [None, None], born=NOW)
    assert isinstance(first, Appended)
    assert isinstance(second, Appended)
    assert (first.fresh, first.position.seq, second.fresh, second.position.seq) == (False, 1, True, 2)


async def test_sent_again_with_the_same_keys_they_are_the_same_events(journal: Journal) -> None:
    job_id, writer = new_id(), Writer()
    events, keys = [queued(job_id), started(job_id)], [writer.key(), writer.key()]
    await journal.append_all(events, keys)
    again = await journal.append_all(events, keys)
    assert [isinstance(answer, Appended) and answer.fresh for answer in again] == [False, False]
    assert len(await journal.history(job_id)) == 2


async def test_one_that_is_refused_is_named_and_the_rest_are_judged_by_themselves(journal: Journal) -> None:
    job_id = new_id()
    await bring(journal, job_id, "active")
    answers = await journal.append_all([started(job_id), log(job_id), completed(job_id), log(job_id)], [None] * 4)
    assert [isinstance(answer, Refused) for answer in answers] == [True, False, False, True]
    assert seqs(answers)[0] == "out-of-order"
    assert seqs(answers)[3] == "closed"


async def test_a_request_to_cancel_leaves_out_what_comes_after_it(journal: Journal) -> None:
    job_id = new_id()
    await journal.append(queued(job_id), born=NOW)
    await journal.request_cancel(job_id, "not needed")
    (answer,) = await journal.append_all([queued(job_id), started(job_id)], [None, None], born=NOW)
    assert isinstance(answer, Appended)
    assert answer.cancelling == "not needed"
    assert (await journal.read(job_id)).fields["state"] == b"waiting"


async def test_one_that_cannot_be_written_leaves_none_recorded(journal: Journal) -> None:
    job_id = new_id()
    large: Event = JobLog(job_id=job_id, queue="films", attempt=1, timestamp=NOW, line="x" * 2**21)
    with pytest.raises(JobcastError) as told:
        await journal.append_all([queued(job_id), large], [None, None])
    assert isinstance(told.value, PayloadTooLarge)
    assert (await journal.read(job_id)).position is None
