"""Cancelling, retrying, counting: BullMQ's record and the journal's say the same afterwards."""

import asyncio
import functools
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from jobcast.shared.errors import BadJobId, BadQueueName, NotPossible, Unavailable, UnknownJob
from jobcast.shared.events import Event, JobQueued
from jobcast.shared.journal import MemoryJournal
from jobcast.shared.journal.contract import Appended, Key, Reading, Writer
from jobcast.shared.journal.redis import RedisJournal
from jobcast.shared.options import read_options
from jobcast.shared.queue import LONGEST_REASON, JobQueues
from jobcast.shared.redis import connect, connect_for_bullmq
from tests.contract.jobs import bring
from tests.shared.bullmq import Site
from tests.support.waiting import free_port


async def submit(site: Site, **opts: object) -> str:
    return (await site.queues.submit("films", "encode", {}, read_options(opts))).job_id


@pytest.mark.parametrize("opts", [{}, {"delay": 60_000}, {"priority": 3}], ids=["waiting", "delayed", "with priority"])
async def test_a_job_that_waits_is_taken_from_its_queue(site: Site, opts: dict[str, int]) -> None:
    job_id = await submit(site, **opts)
    assert await site.queues.cancel(job_id, "not needed") == "cancelled"
    assert await site.kept(job_id) is None
    assert await site.state(job_id) == "cancelled"
    assert json.loads((await site.fields(job_id))["event:job-cancelled"])["reason"] == "not needed"
    assert await site.journal.cancel_requests([job_id]) == [None]


async def test_a_job_that_waits_to_be_tried_again_is_cancelled_for_good(site: Site) -> None:
    job_id = await submit(site, attempts=2, backoff=60_000)
    await site.fail(job_id, final=False)
    assert await site.state(job_id) == "waiting"
    assert await site.queues.cancel(job_id) == "cancelled"
    assert await site.kept(job_id) is None
    assert await site.state(job_id) == "cancelled"


async def test_a_job_that_runs_is_asked_to_stop(site: Site) -> None:
    job_id = await submit(site)
    async with site.taken(job_id):
        assert await site.queues.cancel(job_id, "r" * 10_000) == "cancelling"
    assert await site.state(job_id) == "active"
    assert await site.kept(job_id) is not None
    assert await site.journal.cancel_requests([job_id]) == ["r" * LONGEST_REASON]


async def test_a_job_a_worker_took_unseen_is_asked_to_stop_and_not_removed(site: Site) -> None:
    """BullMQ's lock is there and the journal does not know yet: the worker finds the request when it does."""
    job_id = await submit(site)
    site.behind.lrem("bull:films:wait", 1, job_id)
    site.behind.lpush("bull:films:active", job_id)
    site.behind.set(f"bull:films:{job_id}:lock", "token")
    assert await site.queues.cancel(job_id, "why") == "cancelling"
    assert await site.kept(job_id) is not None
    assert await site.journal.cancel_requests([job_id]) == ["why"]


async def test_a_finished_job_cannot_be_cancelled(site: Site) -> None:
    done, broken = await submit(site), None
    await site.complete(done)
    broken = await submit(site)
    await site.fail(broken)
    for job_id, state in ((done, "completed"), (broken, "failed")):
        with pytest.raises(NotPossible, match=f"already {state}"):
            await site.queues.cancel(job_id)
        assert await site.kept(job_id) is not None


async def test_two_cancels_at_once_are_one_cancellation(site: Site) -> None:
    job_id = await submit(site)
    answers = await asyncio.gather(*(site.queues.cancel(job_id) for _ in range(5)), return_exceptions=True)
    assert "cancelled" in answers
    assert all(answer in ("cancelled", "cancelling") or isinstance(answer, NotPossible) for answer in answers)
    assert (await site.kinds(job_id)).count("job-cancelled") == 1


async def test_an_unknown_job_can_neither_be_cancelled_nor_retried(site: Site) -> None:
    for call in (site.queues.cancel("nobody"), site.queues.retry("nobody")):
        with pytest.raises(UnknownJob):
            await call
    for job_id in ("*", "a\r\nb", "", "x" * 129):
        with pytest.raises(BadJobId):
            await site.queues.cancel(job_id)


@pytest.mark.parametrize("end", ["complete", "fail"])
async def test_a_finished_job_is_tried_again_as_a_new_attempt(site: Site, end: str) -> None:
    job_id = await submit(site)
    await getattr(site, end)(job_id)
    before = (await site.journal.read(job_id)).position
    await site.queues.retry(job_id)
    after = await site.journal.read(job_id)
    assert before is not None
    assert after.position == before._replace(seq=before.seq + 1), "the same life goes on"
    assert (after.fields["state"], after.fields["attempt"]) == (b"waiting", b"2")
    assert site.behind.lrange("bull:films:wait", 0, -1) == [job_id]
    await site.complete(job_id)
    assert await site.state(job_id) == "completed"


class SlowReader(JobQueues):
    """Asks for a retry by what it read before ``meanwhile`` happened."""

    meanwhile: Callable[[], Coroutine[Any, Any, None]]

    async def _known(self, job_id: str) -> Reading:
        reading = await super()._known(job_id)
        await self.meanwhile()
        return reading


class SlowTeller(RedisJournal):
    """Has ``meanwhile`` happen before it says that the job waits again."""

    meanwhile: Callable[[], Coroutine[Any, Any, None]]

    async def append(self, event: Event, *, key: Key | None = None, born: int = 0, ttl: int | None = None) -> Appended:
        await self.meanwhile()
        return await super().append(event, key=key, born=born, ttl=ttl)


@pytest.mark.parametrize("end", ["complete", "fail"])
async def test_of_two_who_retry_at_once_one_is_too_late_however_late(site: Site, end: str) -> None:
    """The job has run and ended once more before the second asks BullMQ, in which only its end is seen."""
    job_id = await submit(site)
    await site.fail(job_id)

    async def another() -> None:
        await site.queues.retry(job_id)
        await getattr(site, end)(job_id)

    late = SlowReader(site.bullmq, site.journal)
    late.meanwhile = another
    with pytest.raises(NotPossible, match="tried again meanwhile"):
        await late.retry(job_id)
    assert (await site.fields(job_id))["attempt"] == b"2"
    assert site.behind.lrange("bull:films:wait", 0, -1) == []


@pytest.mark.parametrize("end", ["complete", "fail"])
async def test_a_retry_that_read_of_an_attempt_that_waits_is_too_late_once_it_has_run(site: Site, end: str) -> None:
    job_id = await submit(site)
    await site.fail(job_id)
    await site.queues.retry(job_id)
    late = SlowReader(site.bullmq, site.journal)
    late.meanwhile = functools.partial(getattr(site, end), job_id)
    with pytest.raises(NotPossible, match="tried again meanwhile"):
        await late.retry(job_id)
    assert site.behind.lrange("bull:films:wait", 0, -1) == []


async def test_who_decided_by_an_older_attempt_leaves_a_newer_one_alone(site: Site) -> None:
    """The end that was to be made good is not the one the job has by now."""
    job_id = await submit(site)
    await site.fail(job_id)
    await site.queues.retry(job_id, begun=1)
    await site.complete(job_id)
    with pytest.raises(NotPossible, match="tried again meanwhile"):
        await site.queues.retry(job_id, begun=1)
    assert site.behind.lrange("bull:films:wait", 0, -1) == []


async def test_of_two_who_retry_at_once_one_is_too_late_even_if_the_other_failed_again(site: Site) -> None:
    job_id = await submit(site)
    await site.fail(job_id)

    async def another() -> None:
        await site.queues.retry(job_id)
        await site.fail(job_id)

    commands = connect(site.url, name="test")
    journal = SlowTeller(commands)
    journal.meanwhile = another
    with pytest.raises(NotPossible, match="tried again meanwhile"):
        await JobQueues(site.bullmq, journal).retry(job_id)
    await commands.aclose()
    assert site.behind.lrange("bull:films:wait", 0, -1) == []


async def test_a_retry_that_reached_only_the_journal_is_asked_for_again(site: Site) -> None:
    job_id = await submit(site)
    await site.fail(job_id)
    died = JobQueued(job_id=job_id, queue="films", attempt=2, timestamp=1, name="encode", max_attempts=1)
    await site.journal.append(died, key=Writer().key())
    await site.queues.retry(job_id)
    assert site.behind.lrange("bull:films:wait", 0, -1) == [job_id]


async def test_a_job_that_is_not_over_cannot_be_retried(site: Site) -> None:
    job_id = await submit(site)
    with pytest.raises(NotPossible, match="is waiting"):
        await site.queues.retry(job_id)
    async with site.taken(job_id):
        with pytest.raises(NotPossible, match="is active"):
            await site.queues.retry(job_id)


async def test_a_job_its_queue_no_longer_keeps_cannot_be_retried(site: Site) -> None:
    job_id = await submit(site, removeOnComplete=True)
    await site.complete(job_id)
    with pytest.raises(UnknownJob, match="submit it anew"):
        await site.queues.retry(job_id)


async def test_a_job_that_only_the_journal_knows_is_asked_to_stop(site: Site) -> None:
    await bring(site.journal, "elsewhere", "waiting")
    assert await site.queues.cancel("elsewhere") == "cancelling"
    assert await site.state("elsewhere") == "waiting"


async def test_counts_tell_every_state_and_priorities_wait_like_the_others(site: Site) -> None:
    done = await submit(site)
    await site.complete(done)
    broken = await submit(site)
    await site.fail(broken)
    for opts in ({"delay": 60_000}, {"priority": 1}, {}, {}):
        await submit(site, **opts)
    counts = await site.queues.counts("films")
    assert {state: counts[state] for state in ("waiting", "delayed", "completed", "failed", "active")} == {
        "waiting": 3, "delayed": 1, "completed": 1, "failed": 1, "active": 0,
    }  # fmt: skip
    assert "prioritized" not in counts
    assert sum((await site.queues.counts("empty")).values()) == 0
    with pytest.raises(BadQueueName):
        await site.queues.counts("*")


async def test_a_paused_queue_says_so(site: Site) -> None:
    assert not await site.queues.paused("films")
    await site.queue().pause()
    assert await site.queues.paused("films")


async def test_without_redis_every_call_is_unavailable() -> None:
    client = connect_for_bullmq(f"redis://127.0.0.1:{free_port()}/0", name="nowhere")
    journal = MemoryJournal()
    queues = JobQueues(client, journal)
    await bring(journal, "j", "waiting")
    for call in (queues.submit("films", "encode", {}), queues.counts("films"), queues.cancel("j")):
        with pytest.raises(Unavailable):
            await call
    assert (await journal.jobs("films")).job_ids == ["j"]
    await client.aclose()
