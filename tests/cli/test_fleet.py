"""`jobcast worker --processes`: workers that are started, replaced and stopped as one, and never left behind."""

import os
import signal
import sys

import pytest

from jobcast.shared.journal import RedisJournal
from jobcast.shared.queue import JobQueues
from jobcast.shared.redis import connect, connect_for_bullmq
from tests.cli.test_up import children, gone
from tests.conftest import StartJobcast, StartRedis
from tests.support.processes import JobcastProcess
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are tied to our life by Linux' prctl")


@pytest.fixture
def redis(start_redis: StartRedis) -> RedisServer:
    return start_redis()


async def fleet(start: StartJobcast, redis: RedisServer) -> JobcastProcess:
    env = {"JOBCAST_REDIS_URL": redis.url, "JOBCAST_CONCURRENCY": "1", "JOBCAST_DRAIN": "5"}
    process = start("worker", "--processes", "2", env=env)
    await wait_until(lambda: process.stderr.count("worker ready") >= 2, 20, "the workers")
    return process


async def submit(redis: RedisServer, jobs: int, duration: float) -> list[str]:
    commands, bullmq = connect(redis.url, name="test"), connect_for_bullmq(redis.url, name="test")
    queues = JobQueues(bullmq, RedisJournal(commands))
    try:
        data = {"steps": 1, "duration": duration}
        return [(await queues.submit("demo", "simulate", data)).job_id for _ in range(jobs)]
    finally:
        await commands.aclose()
        await bullmq.aclose()


def states(redis: RedisServer, jobs: list[str]) -> list[str | None]:
    with redis.client() as client:
        return [client.hget(f"jobcast:{{{job}}}:state", "state") for job in jobs]


async def test_its_workers_share_the_jobs_and_finish_them_when_it_is_stopped(
    start_jobcast: StartJobcast, redis: RedisServer
) -> None:
    process = await fleet(start_jobcast, redis)
    pids = children(process.pid)
    jobs = await submit(redis, 2, duration=1.0)
    await wait_until(lambda: states(redis, jobs) == ["active", "active"], 10, "both at work")
    process.signal(signal.SIGTERM)
    assert await process.exited(10) == 0
    assert states(redis, jobs) == ["completed", "completed"]
    assert len(pids) == 2
    assert gone(pids)


async def test_one_that_dies_is_told_of_and_replaced(start_jobcast: StartJobcast, redis: RedisServer) -> None:
    process = await fleet(start_jobcast, redis)
    victim = children(process.pid)[0]
    os.kill(victim, signal.SIGKILL)
    await process.says(f"(process {victim}) was ended by SIGKILL; another is started in")
    await wait_until(lambda: process.stderr.count("worker ready") == 3, 20, "the one that replaces it")
    assert len(children(process.pid)) == 2
    process.signal(signal.SIGTERM)
    assert await process.exited(10) == 0


async def test_kill_9_leaves_workers_that_finish_what_they_have_and_end(
    start_jobcast: StartJobcast, redis: RedisServer
) -> None:
    process = await fleet(start_jobcast, redis)
    pids = children(process.pid)
    jobs = await submit(redis, 1, duration=1.0)
    await wait_until(lambda: states(redis, jobs) == ["active"], 10, "at work")
    process.kill()
    await wait_until(lambda: gone(pids), 10, "the end of its workers")
    assert states(redis, jobs) == ["completed"]


async def test_what_the_user_must_mend_ends_them_all(start_jobcast: StartJobcast, redis: RedisServer) -> None:
    env = {"JOBCAST_REDIS_URL": redis.url}
    process = start_jobcast("worker", "--processes", "3", "--module", "nowhere", env=env)
    assert await process.exited(20) == 2
    assert "nowhere" in process.stderr
