"""A worker process killed between BullMQ's record of a job's end and the journal's: the next one tells it."""

import redis

from jobcast.shared.events import JobCompleted, JobFailed
from tests.conftest import StartJobcast, StartRedis
from tests.support.waiting import wait_until
from tests.worker.conftest import Bench, bench_at


async def test_a_worker_killed_between_the_two_records_leaves_no_job_running(
    start_redis: StartRedis, start_jobcast: StartJobcast
) -> None:
    """Redis takes BullMQ's moves and refuses the journal's events: so the worker is sure to be between the two."""
    server = start_redis()
    with server.client() as behind:
        behind.execute_command("ACL", "SETUSER", "admin", "on", ">admin", "~*", "&*", "+@all")
    address = server.url.replace("://", "://admin:admin@")
    async with bench_at(address) as bench:
        worker = start_jobcast("worker", env={"JOBCAST_REDIS_URL": server.url})
        await worker.says("worker ready", 20)
        kept = await _submit(bench)
        fleeting = await _submit(bench, remove_on_complete=True)
        failing = await _submit(bench, failAt=2)
        for job_id in (kept, fleeting, failing):
            await bench.seen(job_id, "job-queue-to-start")
        with redis.Redis.from_url(address) as admin:
            admin.execute_command("ACL", "SETUSER", "default", "resetkeys", "~bull:*")
            await wait_until(lambda: _over(bench, [kept, fleeting, failing]), 20, "the end of the jobs in BullMQ")
            worker.kill()
            admin.execute_command("ACL", "SETUSER", "default", "allkeys")
        for job_id in (kept, fleeting, failing):
            assert (await bench.journal.read(job_id)).fields["state"] == b"active"
        start_jobcast("worker", env={"JOBCAST_REDIS_URL": server.url})
        for job_id in (kept, fleeting):
            *_, completed = await bench.ended(job_id, 40)
            assert isinstance(completed, JobCompleted)
            assert completed.result == {"steps": 3}
            assert completed.processing_time >= 2000
        *_, failed = await bench.ended(failing, 10)
        assert isinstance(failed, JobFailed)
        assert failed.error == (await bench.bullmq(failing, "demo"))["failedReason"]
        for job_id in (kept, fleeting, failing):
            kinds = await bench.kinds(job_id)
            assert kinds.count("job-completed") + kinds.count("job-failed") == 1


async def _submit(bench: Bench, *, remove_on_complete: bool | None = None, **data: int) -> str:
    options = {} if remove_on_complete is None else {"remove_on_complete": remove_on_complete}
    return await bench.submit({"steps": 3, "duration": 3.0, **data}, "demo", "simulate", **options)


async def _over(bench: Bench, jobs: list[str]) -> bool:
    return {await bench.state(job_id, "demo") for job_id in jobs} == {"completed", "nowhere", "failed"}
