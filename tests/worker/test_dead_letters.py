"""Jobs that failed for good land in the dead-letter queue, once each, and can be had to run again."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from typing import Any

import pytest
from bullmq import Queue, Worker

from jobcast import Context, Registry, Unrecoverable
from jobcast.cli import exits
from jobcast.shared.dead_letters import DeadLetters, Letter, Listed, letter_id
from jobcast.shared.errors import BadSettings, NotPossible, UnknownJob
from jobcast.shared.events import JobStarted
from jobcast.shared.options import Backoff
from jobcast.worker.queues import QueueDefinition
from jobcast.worker.reconciler import Timing
from tests.gateway.support import http, served
from tests.support.waiting import wait_until
from tests.worker.conftest import Bench

SOON = Timing(every=0.1, grace=0.2, gone_after=0.6)
WORK = QueueDefinition("work", dead_letter="dead-letter")


@pytest.fixture
def letters(bench: Bench) -> DeadLetters:
    bench.registry.declare(WORK)
    return DeadLetters(bench.queues, bench.journal)


def failing(bench: Bench, *, until: int = 10**6) -> None:
    """A handler that fails its first starts."""

    @bench.handler()
    async def go(ctx: Context) -> int:
        if ctx.attempt <= until:
            raise ValueError(f"no luck with {ctx.data}")
        return ctx.attempt


async def written(letters: DeadLetters, count: int = 1) -> list[Listed]:
    async def there() -> list[Listed]:
        found = await letters.letters()
        return found if len(found) >= count else []

    return await wait_until(there, 10, f"{count} dead letters")


async def no_more_come(bench: Bench, letters: DeadLetters, count: int) -> None:
    """Several looks of the reconciler later there are still so many, in BullMQ and in the journal."""
    await asyncio.sleep(0.6)
    assert len(await letters.letters()) == count
    assert len((await bench.journal.jobs("dead-letter")).job_ids) == count


async def test_exchange_sync_after_the_last_attempt_a_job_goes_to_dead_letter(
    bench: Bench, letters: DeadLetters
) -> None:
    """With its original queue, name, data, error and time."""
    failing(bench)
    job_id = await bench.submit({"user": 7}, attempts=2, backoff=Backoff("fixed", 10))
    async with bench.worker(reconciling=SOON):
        events = await bench.ended(job_id)
        (found,) = await written(letters)
        await no_more_come(bench, letters, 1)
    assert found.id == letter_id("work", job_id, 2)
    assert found.state == "waiting"
    letter = found.letter
    assert (letter.queue, letter.name, letter.job_id) == ("work", "go", job_id)
    assert (letter.data, letter.attempts) == ({"user": 7}, 2)
    assert letter.error == "ValueError: no luck with {'user': 7}"
    assert letter.failed_at == events[-1].timestamp
    assert letter.opts["attempts"] == 2
    assert letter.opts["backoff"]["delay"] == 10
    raw = await bench.bullmq(found.id, "dead-letter")
    assert raw["name"] == "go"
    assert await bench.kinds(found.id) == ["job-queued"]


async def test_a_job_that_will_be_tried_again_or_was_cancelled_has_no_letter(
    bench: Bench, letters: DeadLetters
) -> None:
    failing(bench, until=1)

    @bench.handler(name="wait")
    async def wait(ctx: Context) -> None:
        while True:
            await ctx.check_cancelled()
            await asyncio.sleep(0.01)

    tried, cancelled = await bench.submit(attempts=2), await bench.submit(name="wait")
    async with bench.worker(reconciling=SOON):
        await bench.seen(cancelled, "job-queue-to-start")
        await bench.queues.cancel(cancelled)
        assert (await bench.ended(tried))[-1].kind == "job-completed"
        assert (await bench.ended(cancelled))[-1].kind == "job-cancelled"
        await no_more_come(bench, letters, 0)


async def moved_to_failed(bench: Bench, job_id: str) -> Any:
    """What a worker leaves that dies right after BullMQ took its move, before its letter and its event."""
    worker = Worker("work", None, {"connection": bench.client, "autorun": False, "lockDuration": 30_000})
    job = await worker.getNextJob("token")
    assert job.id == job_id
    await bench.journal.append(
        JobStarted(job_id=job_id, queue="work", attempt=1, timestamp=1, queue_to_start_time=1, worker="w:1")
    )
    await job.moveToFailed(RuntimeError("disk full"), "token")
    await worker.close(force=True)
    return job


async def test_a_worker_that_dies_before_its_letter_leaves_it_to_the_others_which_write_one(
    bench: Bench, letters: DeadLetters
) -> None:
    failing(bench)
    job_id = await bench.submit({"user": 7})
    await moved_to_failed(bench, job_id)
    async with bench.worker(reconciling=SOON), bench.worker(reconciling=SOON):
        (found,) = await written(letters)
        await bench.ended(job_id)
        await no_more_come(bench, letters, 1)
    assert (found.letter.error, found.letter.data, found.letter.attempts) == ("disk full", {"user": 7}, 1)


async def test_a_worker_that_dies_after_its_letter_does_not_make_it_two(bench: Bench, letters: DeadLetters) -> None:
    """A handler has seen to the letter already: BullMQ keeps it, and so its id is taken."""
    failing(bench)
    seen = []

    @bench.handler("dead-letter", "go")
    async def alert(ctx: Context) -> None:
        seen.append(ctx.data["jobId"])

    job_id = await bench.submit({"user": 7})
    job = await moved_to_failed(bench, job_id)
    assert await letters.put("dead-letter", Letter("work", "go", job.data, "disk full", 5, 1, job_id, {}), 1)
    async with bench.worker(reconciling=Timing(every=0.1, grace=1.0)):
        await wait_until(lambda: seen, 10, "the handler")
        await bench.ended(job_id)
        await no_more_come(bench, letters, 1)
    assert seen == [job_id]


async def test_a_job_that_stalled_too_often_lands_there_too(bench: Bench, letters: DeadLetters) -> None:
    failing(bench)
    job_id = await bench.submit({"user": 7}, attempts=5)
    dies = Worker("work", None, {"connection": bench.client, "autorun": False, "lockDuration": 50})
    assert (await dies.getNextJob("token")).id == job_id
    await bench.client.hset(f"bull:work:{job_id}", "stc", "1")  # it has lost a worker before
    await dies.close(force=True)
    async with bench.worker(reconciling=SOON):
        events = await bench.ended(job_id)
        (found,) = await written(letters)
    assert events[-1].terminal
    assert "stalled more than allowable limit" in found.letter.error


async def test_exchange_sync_a_dead_letter_is_replayed_by_hand(bench: Bench, letters: DeadLetters) -> None:
    """Under its old id, in its queue, as a new attempt of the same job; then the letter is gone."""
    failing(bench, until=1)
    job_id = await bench.submit({"user": 7})
    async with bench.worker(reconciling=SOON):
        (found,) = await written(letters)
        await bench.ended(job_id)
        done = await letters.replay(found.id)
        await bench.seen(job_id, "job-completed")
        assert await letters.letters() == []
        with pytest.raises(UnknownJob):
            await letters.replay(found.id)
    assert (done.job_id, done.queue, done.state) == (job_id, "work", "waiting")
    assert [event.attempt for event in await bench.events(job_id)] == [1, 1, 1, 2, 2, 2]
    assert (await bench.kinds(found.id))[-1] == "job-cancelled"
    assert await bench.state(found.id, "dead-letter") == "nowhere"


async def test_a_job_that_is_gone_is_added_anew_as_it_was(bench: Bench, letters: DeadLetters) -> None:
    failing(bench)
    job_id = await bench.submit({"user": 7}, attempts=2, delay=50, backoff=Backoff("fixed", 30_000))
    queue = Queue("work", {"connection": bench.client})
    async with bench.worker():
        await bench.seen(job_id, "job-failed")
        await wait_until(lambda: bench.client.zscore("bull:work:delayed", job_id), 10, "the wait in BullMQ")
        await bench.client.zadd("bull:work:delayed", {job_id: 0})
        await bench.client.zadd("bull:work:marker", {"0": 0})
        (found,) = await written(letters)
        await bench.ended(job_id)
    assert await queue.remove(job_id) == 1
    done = await letters.replay(found.id)
    job = await queue.getJob(job_id)
    assert job is not None
    assert (job.name, job.data, job.opts["attempts"], job.opts["backoff"]["delay"]) == ("go", {"user": 7}, 2, 30_000)
    assert (done.state, await bench.state(job_id)) == ("waiting", "wait")
    assert not job.opts.get("delay")
    assert await letters.letters() == []
    assert (await bench.journal.read(job_id)).fields["state"] == b"waiting"


async def test_a_replay_that_was_cut_off_is_done_by_the_next_and_runs_the_job_once(
    bench: Bench, letters: DeadLetters
) -> None:
    failing(bench, until=1)
    job_id = await bench.submit()
    async with bench.worker():
        (found,) = await written(letters)
        await bench.ended(job_id)
        await bench.queues.retry(job_id)  # the first half of a replay
        await bench.seen(job_id, "job-completed")
        done = await letters.replay(found.id)
        assert done.state == "completed"
        assert await letters.letters() == []
        await asyncio.sleep(0.2)
    assert [event.attempt for event in await bench.events(job_id)] == [1, 1, 1, 2, 2, 2]


async def test_two_who_replay_at_once_run_it_once(bench: Bench, letters: DeadLetters) -> None:
    failing(bench, until=1)
    job_id = await bench.submit()
    async with bench.worker():
        (found,) = await written(letters)
        await bench.ended(job_id)
        await asyncio.gather(*(letters.replay(found.id) for _ in range(4)), return_exceptions=True)
        await bench.seen(job_id, "job-completed")
        assert await letters.letters() == []
        await asyncio.sleep(0.2)
    assert [event.attempt for event in await bench.events(job_id)] == [1, 1, 1, 2, 2, 2]


async def test_exchange_sync_a_handler_that_alerts_sees_each_letter(bench: Bench, letters: DeadLetters) -> None:
    """One at its work keeps the letter from being replayed under its hands; what it has done is still listed."""
    failing(bench)
    seen: list[Any] = []
    go_on = asyncio.Event()

    @bench.handler("dead-letter", "go")
    async def alert(ctx: Context) -> None:
        seen.append(ctx.data)
        await go_on.wait()

    job_id = await bench.submit({"user": 7})
    async with bench.worker():
        await wait_until(lambda: seen, 10, "the handler")
        (found,) = await letters.letters()
        with pytest.raises(NotPossible, match="a handler is at work"):
            await letters.replay(found.id)
        go_on.set()
        await bench.ended(found.id)
        (found,) = await letters.letters()
        assert found.state == "completed"
        assert (await letters.replay_all()).replayed == []
    assert (seen[0]["jobId"], seen[0]["queue"], seen[0]["data"]) == (job_id, "work", {"user": 7})
    assert seen[0]["failedAt"] == (await bench.events(job_id))[-1].timestamp


async def test_letters_are_seen_to_over_http_and_by_the_command(bench: Bench, letters: DeadLetters) -> None:
    fail = True

    @bench.handler()
    async def go(_: Context) -> None:
        if fail:
            raise Unrecoverable("the \x1b[31mdisk is full")

    jobs = [await bench.submit({"n": n}) for n in range(4)]

    async def command(*args: str) -> tuple[int, str, str]:
        typed = (sys.executable, "-m", "jobcast.cli", "dead-letters", *args, "--url", house.url)
        process = await asyncio.create_subprocess_exec(*typed, stdout=PIPE, stderr=PIPE)
        out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()

    async with bench.worker(), served(bench.url) as house, http(house.url) as client:
        await written(letters, 4)
        for job_id in jobs:
            await bench.ended(job_id)
        fail = False
        answer = await client.get("/api/v1/dead-letters", params={"limit": 2})
        assert answer.status_code == 200
        assert len(answer.json()["letters"]) == 2
        listed = (await client.get("/api/v1/dead-letters")).json()["letters"]
        by_job = {each["jobId"]: each for each in listed}
        assert by_job[jobs[0]]["data"] == {"n": 0}

        answer = await client.post(f"/api/v1/dead-letters/{by_job[jobs[0]]['id']}/replay")
        assert (answer.status_code, answer.json()) == (202, {"jobId": jobs[0], "queue": "work", "state": "waiting"})
        await bench.seen(jobs[0], "job-completed")
        assert (await client.post("/api/v1/dead-letters/none/replay")).status_code == 404
        assert (await client.get("/api/v1/dead-letters?limit=0")).status_code == 400
        assert (await client.get("/api/v1/dead-letters?queue=*")).json()["code"] == "bad-queue-name"

        code, out, _ = await command("list")
        assert code == exits.COMPLETED
        assert len(out.splitlines()) == 3
        assert "Unrecoverable: the" in out
        assert "\x1b" not in out
        code, out, _ = await command("remove", by_job[jobs[1]]["id"])
        assert (code, out) == (exits.COMPLETED, f"{by_job[jobs[1]]['id']} removed\n")
        code, out, _ = await command("replay", by_job[jobs[2]]["id"])
        assert (code, out) == (exits.COMPLETED, f"job {jobs[2]} of queue work: waiting\n")
        code, out, _ = await command("replay", "--all")
        assert (code, out) == (exits.COMPLETED, f"job {jobs[3]} of queue work: waiting\n")
        for job_id in jobs[2:]:
            await bench.seen(job_id, "job-completed")
        assert await command("replay", "none") == (
            exits.FAILED, "", "jobcast: no letter none in queue dead-letter\n",
        )  # fmt: skip
        assert (await client.get("/api/v1/dead-letters")).json()["letters"] == []
    assert (await bench.kinds(jobs[1]))[-1] == "job-failed"


def test_a_queue_is_not_its_own_dead_letter_queue() -> None:
    with pytest.raises(BadSettings, match="another queue"):
        QueueDefinition("work", dead_letter="work")


def test_the_same_death_has_one_id_that_bullmq_can_keep() -> None:
    assert letter_id("q", "a", 1) == letter_id("q", "a", 1)
    assert len({letter_id("q", "a", 1), letter_id("q", "a", 2), letter_id("q.a", "", 1), letter_id("q", "a:1", 1)}) == 4
    assert len(letter_id("q" * 64, "j" * 128, 10**9)) == 35


def test_dead_letters_that_go_round_are_refused_whoever_closes_the_ring() -> None:
    registry = Registry()
    registry.declare(QueueDefinition("a", dead_letter="b"))
    registry.declare(QueueDefinition("b", dead_letter="c"))
    registry.declare(QueueDefinition("d", dead_letter="b"))
    with pytest.raises(BadSettings, match="c -> a -> b -> c"):
        registry.declare(QueueDefinition("c", dead_letter="a"))
    registry.declare(QueueDefinition("c", dead_letter="e"))
