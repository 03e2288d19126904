"""A queue counts the events of all its jobs: what happened in it after a position can be read, as with one job."""

import asyncio

from jobcast.shared.journal import Journal, Life
from jobcast.shared.journal.contract import Ask, Changes, Reading
from jobcast.shared.position import Position
from tests.contract.conftest import Kept, OpenJournal
from tests.contract.jobs import NOW, bring, completed, log, new_id, progress, queued, started

MANY = 1000


async def place(journal: Journal, queue: str = "films") -> Position:
    (found,) = await journal.queue_positions([queue])
    assert found is not None
    return found


def after(place: Position, events: int) -> Position:
    return place._replace(seq=place.seq + events)


async def read_changed(journal: Journal, queue: str, job_id: str, since: Position) -> Reading:
    (reading,) = await journal.read_each(queue, [Ask(job_id, place=since)])
    return reading


def numbers(reading: Reading) -> tuple[bool, list[int]]:
    return reading.recovered, [entry.seq for entry in reading.missed]


async def test_a_queue_counts_the_events_of_all_its_jobs(journal: Journal) -> None:
    first, second = new_id(), new_id()
    await bring(journal, first, "active")
    await journal.append(queued(new_id(), queue="songs"))
    await journal.append(queued(second))
    films, songs, none = await journal.queue_positions(["films", "songs", "books"])
    assert (films and films.seq, songs and songs.seq, none) == (3, 1, None)
    assert films != songs
    assert await journal.queue_positions([]) == []


async def test_what_is_refused_or_known_is_not_counted(journal: Journal) -> None:
    job_id = new_id()
    await journal.append(queued(job_id))
    await journal.append(queued(job_id))
    assert (await place(journal)).seq == 1


async def test_numbers_of_a_crowd_have_no_hole_and_none_twice(kept: Kept) -> None:
    kept.follow("nobody", "films")
    kept.heard()
    await asyncio.gather(*(bring(kept.journal, new_id(), "completed") for _ in range(20)))
    heard = [int(wire.split(b'"seq":')[1].partition(b",")[0]) for channel, wire in kept.heard() if "queue" in channel]
    assert heard == list(range(1, len(heard) + 1))
    assert len(heard) == (await place(kept.journal)).seq > 40


async def test_jobs_that_changed_after_a_position_are_told_last_changed_last(journal: Journal) -> None:
    still, moved, fresh = (new_id() for _ in range(3))
    await bring(journal, moved, "active")
    await bring(journal, still, "active")
    since = await place(journal)
    await journal.append(queued(fresh))
    for _ in range(3):
        await journal.append(progress(moved))
    found = await journal.changes("films", since, MANY)
    assert (found.position, found.job_ids) == (await place(journal), [fresh, moved])
    assert (await journal.changes("films", found.position, MANY)).job_ids == []
    assert (await journal.changes("films", None, MANY)).job_ids == [still, fresh, moved]


async def test_more_changes_than_asked_for_are_not_told_in_part(journal: Journal) -> None:
    for _ in range(3):
        await journal.append(queued(new_id()))
    assert len((await journal.changes("films", None, 3)).job_ids or ()) == 3
    assert (await journal.changes("films", None, 2)).job_ids is None


async def test_after_a_position_of_another_life_all_has_changed(kept: Kept) -> None:
    await bring(kept.journal, new_id(), "completed")
    since = await place(kept.journal)
    assert (await kept.journal.changes("films", since, MANY)).continued
    assert not (await kept.journal.changes("films", since._replace(seq=since.seq + 1), MANY)).continued
    kept.forget()
    assert await kept.journal.changes("films", since, MANY) == Changes(None, [], continued=False)
    assert await kept.journal.changes("films", None, MANY) == Changes(None, [], continued=True)
    job_id = new_id()
    await bring(kept.journal, job_id, "completed")
    now = await place(kept.journal)
    assert now.epoch != since.epoch
    for before in (since, since._replace(seq=1)):
        assert await kept.journal.changes("films", before, MANY) == Changes(now, [job_id], continued=False)


async def test_the_events_of_a_job_after_a_number_of_its_queue(journal: Journal) -> None:
    job_id, other = new_id(), new_id()
    await bring(journal, job_id, "active")
    since = await place(journal)
    for _ in range(20):
        await journal.append(log(job_id))
        await journal.append(queued(new_id()))
    await bring(journal, other, "active")
    assert numbers(await read_changed(journal, "films", job_id, since)) == (True, list(range(3, 23)))
    assert numbers(await read_changed(journal, "films", job_id, after(since, 1))) == (True, list(range(4, 23)))
    assert numbers(await read_changed(journal, "films", job_id, since._replace(seq=0))) == (True, list(range(1, 23)))
    assert numbers(await read_changed(journal, "films", job_id, after(since, 40))) == (True, [])
    assert numbers(await read_changed(journal, "films", other, since)) == (True, [1, 2])
    assert (await read_changed(journal, "films", job_id, since)).fields["state"] == b"active"
    assert not (await read_changed(journal, "films", job_id, Position("another", since.seq))).recovered


async def test_events_that_were_trimmed_away_are_not_told_in_part(open_journal: OpenJournal) -> None:
    journal, job_id = open_journal(Life(history=100)).journal, new_id()
    await bring(journal, job_id, "active")
    since = await place(journal)
    for _ in range(400):
        await journal.append(log(job_id))
    reading = await read_changed(journal, "films", job_id, since)
    assert (numbers(reading), reading.position and reading.position.seq) == ((False, []), 402)
    assert numbers(await read_changed(journal, "films", job_id, after(since, 390))) == (True, list(range(393, 403)))


async def test_a_job_without_a_record_has_none_here_either(journal: Journal) -> None:
    assert await read_changed(journal, "films", "nobody", Position("e", 0)) == Reading(None, {})
    await journal.append(queued("somebody"))
    somebody, nobody = await journal.positions(["somebody", "nobody"])
    assert (somebody and somebody.seq, nobody) == (1, None)


async def test_an_id_used_again_in_another_queue_is_told_in_the_first_too(journal: Journal) -> None:
    job_id = new_id()
    await journal.append(queued(job_id), born=NOW)
    await journal.append(started(job_id))
    await journal.append(completed(job_id))
    since = await place(journal)
    await journal.append(queued(job_id, queue="songs"), born=NOW + 1)
    await journal.append(started(job_id, queue="songs"))
    # Who missed its end must hear of it: that the record is of another queue by now says that it is gone here.
    assert (await journal.changes("films", since, MANY)).job_ids == []
    assert (await journal.changes("films", since._replace(seq=2), MANY)).job_ids == [job_id]
    assert (await journal.changes("songs", None, MANY)).job_ids == [job_id]
    songs = Position((await place(journal, "songs")).epoch, 0)
    assert numbers(await read_changed(journal, "songs", job_id, songs)) == (True, [1, 2])
