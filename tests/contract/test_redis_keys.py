"""What the journal leaves in Redis: how long each key lives, and what it never touches."""

from collections.abc import AsyncIterator, Iterator

import pytest
import redis

from jobcast.shared.journal import Life, RedisJournal, Writer
from jobcast.shared.keys import Keys
from jobcast.shared.redis import connect
from tests.contract.jobs import NOW, bring, completed, log, new_id, progress, queued, started
from tests.support.redis_server import RedisServer

DAY = 24 * 3600 * 1000
WEEK = 7 * DAY


@pytest.fixture(params=["redis_server", "older_redis"], ids=["redis", "redis-6.2"])
def server(request: pytest.FixtureRequest) -> RedisServer:
    """An empty server of each version."""
    server: RedisServer = request.getfixturevalue(request.param)
    server.flush()
    return server


@pytest.fixture
def behind(server: RedisServer) -> Iterator[redis.Redis]:
    """A plain client, to look at the keys themselves."""
    with server.client() as client:
        yield client


@pytest.fixture
async def journal(server: RedisServer) -> AsyncIterator[RedisJournal]:
    """A journal on that server."""
    client = connect(server.url, name="contract")
    yield RedisJournal(client)
    await client.aclose()


def lives(behind: redis.Redis, job_id: str) -> list[int]:
    """How long the two keys of a job still live, in ms, rounded up to the minute."""
    keys = Keys()
    return [-(-int(behind.pttl(key)) // 60_000) * 60_000 for key in (keys.state(job_id), keys.history(job_id))]


async def test_both_keys_of_a_job_live_for_a_day_after_its_last_event(
    journal: RedisJournal, behind: redis.Redis
) -> None:
    job_id = new_id()
    for make in (queued, started, progress, log):
        behind.persist(Keys().state(job_id))
        await journal.append(make(job_id))
        assert lives(behind, job_id) == [DAY, DAY]


async def test_a_finished_job_lives_as_long_as_its_queue_keeps_it(journal: RedisJournal, behind: redis.Redis) -> None:
    job_id = new_id()
    await bring(journal, job_id, "active")
    await journal.append(completed(job_id), ttl=WEEK)
    assert lives(behind, job_id) == [WEEK, WEEK]


async def test_a_shorter_life_than_the_usual_is_not_taken(journal: RedisJournal, behind: redis.Redis) -> None:
    job_id = new_id()
    await journal.append(queued(job_id), ttl=1000)
    assert lives(behind, job_id) == [DAY, DAY]


async def test_the_usual_life_is_a_setting(server: RedisServer, behind: redis.Redis) -> None:
    client, job_id = connect(server.url, name="contract"), new_id()
    await RedisJournal(client, life=Life(ttl=120_000)).append(queued(job_id))
    assert lives(behind, job_id) == [120_000, 120_000]
    await client.aclose()


async def test_the_list_of_a_queue_lives_as_long_as_the_longest_kept_job(
    journal: RedisJournal, behind: redis.Redis
) -> None:
    long_kept = new_id()
    await bring(journal, long_kept, "active")
    await journal.append(completed(long_kept), ttl=WEEK)
    await journal.append(queued(new_id()))
    for key in (Keys().queue_index("films"), Keys().queue_state("films")):
        assert int(behind.pttl(key)) > WEEK - 60_000


async def test_two_prefixes_share_a_redis_without_meeting(server: RedisServer, behind: redis.Redis) -> None:
    client = connect(server.url, name="contract")
    ours, theirs = RedisJournal(client, Keys("ours")), RedisJournal(client, Keys("theirs"))
    await bring(ours, "same", "completed")
    assert (await theirs.append(queued("same"))).position.seq == 1
    assert (await ours.jobs("films")).job_ids == ["same"]
    assert {str(key).partition(":")[0] for key in behind.scan_iter()} == {"ours", "theirs"}
    await client.aclose()


async def test_a_job_leaves_two_keys_and_two_entries_in_lists(journal: RedisJournal, behind: redis.Redis) -> None:
    await bring(journal, "j", "completed")
    assert sorted(str(key) for key in behind.scan_iter()) == [
        "jobcast:queue:{films}:jobs",
        "jobcast:queue:{films}:state",
        "jobcast:queues",
        "jobcast:{j}:history",
        "jobcast:{j}:state",
    ]


async def test_writers_of_an_attempt_that_is_over_are_forgotten(journal: RedisJournal, behind: redis.Redis) -> None:
    job_id = new_id()
    for attempt in (1, 2, 3):
        await journal.append(started(job_id, attempt), key=Writer(f"w{attempt}").key())
        await journal.append(progress(job_id, attempt), key=Writer(f"v{attempt}").key())
    writers = [name for name in behind.hkeys(Keys().state(job_id)) if str(name).startswith("writer:")]
    assert sorted(writers) == ["writer:v3", "writer:w3"]


async def test_a_history_left_without_its_state_is_not_taken_for_the_new_record(
    journal: RedisJournal, behind: redis.Redis
) -> None:
    job_id = new_id()
    await bring(journal, job_id, "completed")
    behind.delete(Keys().state(job_id))
    assert await journal.append(queued(job_id), born=NOW)
    assert [entry.seq for entry in await journal.history(job_id)] == [1]


async def test_a_state_left_without_its_history_counts_on_and_recovers_nobody(
    journal: RedisJournal, behind: redis.Redis
) -> None:
    job_id = new_id()
    await bring(journal, job_id, "active")
    before = (await journal.read(job_id)).position
    behind.delete(Keys().history(job_id))
    assert (await journal.append(progress(job_id))).position.seq == 3
    assert before is not None
    assert (await journal.read(job_id, before)).recovered
    assert not (await journal.read(job_id, before._replace(seq=1))).recovered


async def test_an_epoch_is_ten_letters_and_never_the_same(journal: RedisJournal) -> None:
    answers = [await journal.append(queued(new_id())) for _ in range(50)]
    epochs = {answer.position.epoch for answer in answers}
    assert len(epochs) == 50
    assert all(len(epoch) == 10 and epoch.isalnum() and epoch == epoch.lower() for epoch in epochs)


async def test_a_list_left_without_its_queues_state_begins_anew(journal: RedisJournal, behind: redis.Redis) -> None:
    for _ in range(5):
        await bring(journal, new_id(), "active")
    behind.delete(Keys().queue_state("films"))
    job_id = new_id()
    await journal.append(queued(job_id))
    for live in (False, True):
        assert (await journal.jobs("films", live=live)).job_ids == [job_id]
    assert (await journal.changes("films", None, 1000)).job_ids == [job_id]
