"""A worker's alerts reach a receiver, whoever of the workers dies; and it heeds what operators say."""

import asyncio

from jobcast.shared.alerts import is_genuine
from jobcast.shared.operations import Operations
from jobcast.worker.context import Context
from tests.support.receiver import receiving
from tests.support.waiting import wait_until
from tests.worker.conftest import Bench


async def test_system_4_a_job_that_fails_for_good_is_posted_with_its_stack(bench: Bench) -> None:
    @bench.handler()
    async def go(_ctx: Context) -> None:
        raise OSError("disk full")

    async with receiving() as receiver:
        async with bench.worker(alert_url=receiver.url, alert_secret="s"):
            job_id = await bench.submit(attempts=2)
            await bench.ended(job_id)
            await wait_until(lambda: receiver.posts, 10, "the alert")
        (post,) = receiver.posts
    details = post.alert["details"]
    assert (post.alert["kind"], details["jobId"], details["attempts"]) == ("job-failure", job_id, 2)
    assert "disk full" in details["error"]
    assert "in go" in details["stack"]
    assert is_genuine("s", post.headers["jobcast-timestamp"], post.headers["jobcast-signature"], post.body)


async def test_a_worker_ends_in_time_while_a_receiver_hangs(bench: Bench) -> None:
    @bench.handler()
    async def go(_ctx: Context) -> None:
        raise OSError("disk full")

    async with receiving() as receiver:
        receiver.moods = ["hang"]
        async with asyncio.timeout(8):  # the post alone may take 10 s
            async with bench.worker(alert_url=receiver.url, alert_secret="s"):
                await bench.ended(await bench.submit())
                await wait_until(lambda: receiver.posts, 10, "the post")
        async with bench.worker(alert_url=receiver.url, alert_secret="s"):
            await wait_until(lambda: len(receiver.posts) == 2, 10, "the post of the next worker")
        assert len(set(receiver.ids)) == 1


async def test_system_2_a_paused_queue_keeps_its_jobs_and_a_resumed_one_works(bench: Bench) -> None:
    @bench.handler()
    async def go(_ctx: Context) -> str:
        return "done"

    operations = Operations(bench.queues, bench.journal)
    async with bench.worker():
        await operations.pause("work")
        waits, later, moved = await bench.submit(), await bench.submit(delay=1), await bench.submit(delay=60_000)
        await operations.promote(moved)
        await asyncio.sleep(1.2)  # longer than an idle worker's wait, after which it looks again
        assert [await bench.state(job_id) for job_id in (waits, moved)] == ["wait", "wait"]
        await operations.resume("work")
        for job_id in (waits, later, moved):
            assert (await bench.ended(job_id))[-1].kind == "job-completed"
