"""A fleet of Node's workers and ours on one Redis behind a gateway, and what each noted of its jobs."""

import asyncio
import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import redis

from tests.conftest import RunNode, StartJobcast, StartNode
from tests.gateway.listeners import SseListener
from tests.gateway.support import http
from tests.support.processes import ChildProcess, JobcastProcess
from tests.support.waiting import wait_until

QUICK = {"lockDuration": 3000, "stalledInterval": 1000}
"""Of Node's workers: a death is seen to within 4 s, and not 60."""
OVER = {"job-completed": "completed", "job-failed": "failed", "job-cancelled": "cancelled"}


@dataclass(frozen=True)
class Fleet:
    """``behind``: a client of the Redis that all of it shares."""

    redis_url: str
    behind: redis.Redis
    url: str
    start_jobcast: StartJobcast
    start_node: StartNode
    run_node: RunNode

    async def ours(self, who: str = "ours") -> JobcastProcess:
        """``jobcast worker`` for the queues ``fleet`` and ``ours``."""
        env = {"JOBCAST_REDIS_URL": self.redis_url, "JOBCAST_DRAIN": "5", "FLEET_WHO": who}
        worker = self.start_jobcast("worker", "--no-shipped", "--module", "tests.e2e.fleet_jobs", env=env)
        await worker.says("worker ready", 20)
        return worker

    async def nodes(self, *queues: str, who: str = "node") -> ChildProcess:
        """Node's ``Worker`` for each of the queues."""
        worker = self.start_node("fleet_worker.js", self.redis_url, who, json.dumps(QUICK), *queues)
        await worker.says("ready", 20)
        return worker

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        async with http(self.url) as client:
            answer = await client.request(method, f"/api/v1/{path}", json=body, timeout=20)
            assert answer.is_success, answer.text
            return answer.json()

    async def node_says(self, script: str, *args: str) -> Any:
        found = await self.run_node(script, self.redis_url, *args)
        assert found.exit_code == 0, found.stderr
        return json.loads(found.stdout)

    async def press(self, queue: str, *paths: str) -> None:
        """Bull Board's buttons, by their paths below the queue."""
        answers = await self.node_says("operate.js", queue, *paths)
        assert set(answers) <= {200, 204}, answers

    async def add(self, half: int, data: dict[str, Any], opts: dict[str, Any] | None = None) -> set[str]:
        """Half of the jobs by Node's producer and half by ours at once, to ``fleet``; answers with their ids."""
        start = self.behind.incrby("added", half)
        jobs = [
            {"name": "go", "data": data, "opts": {**(opts or {}), "jobId": f"by-us-{start}-{number}"}}
            for number in range(half)
        ]
        words = [json.dumps(data), json.dumps(opts or {})]
        by_node, by_us = await asyncio.gather(
            self.node_says("fleet_producer.js", "fleet", f"by-node-{start}", str(half), *words),
            self.ask("POST", "jobs/bulk", {"queue": "fleet", "jobs": jobs}),
        )
        return {*by_node, *by_us["jobIds"]}

    def ledger(self, *what: str) -> list[tuple[str, str]]:
        """Who started (or ``what``) which job, in order."""
        entries = [str(entry).split(" ") for entry in self.behind.lrange("ledger", 0, -1)]
        return [(who, job_id) for who, did, job_id in entries if did in (what or ("start",))]

    def ids(self, state: str, queue: str = "fleet") -> set[str]:
        """The jobs that BullMQ holds as completed or failed."""
        return {str(job_id) for job_id in self.behind.zrange(f"bull:{queue}:{state}", 0, -1)}

    async def job(self, job_id: str) -> dict[str, Any]:
        found: dict[str, Any] = await self.ask("GET", f"jobs/{job_id}")
        return found

    async def over(self, job_id: str, timeout: float = 20.0) -> dict[str, Any]:
        """What the gateway says of the job, once it is over there."""

        async def found() -> dict[str, Any] | None:
            async with http(self.url) as client:
                answer = await client.get(f"/api/v1/jobs/{job_id}")
            job: dict[str, Any] = answer.json()
            return job if job.get("status") in OVER.values() else None

        job: dict[str, Any] | None = await wait_until(found, timeout, f"the end of job {job_id}")
        assert job is not None
        return job


class Told:
    """What the watcher of a queue was told of each of its jobs."""

    def __init__(self, stream: SseListener) -> None:
        self._stream = stream

    def jobs(self) -> dict[str, list[tuple[str, dict[str, Any]]]]:
        found = defaultdict(list)
        for name, payload in self._stream.told:
            if name.startswith("job-"):
                found[payload["jobId"]].append((name, payload))
        return found

    def ends(self) -> dict[str, list[str]]:
        """By job the states it ended in, in order; an end that is told again after a snapshot is the same."""
        return {
            job_id: list(
                {
                    payload["seq"]: OVER[name]
                    for name, payload in events
                    if name in OVER and payload.get("final", True)
                }.values()
            )
            for job_id, events in self.jobs().items()
        }

    async def until_over(self, jobs: set[str], timeout: float = 30.0, *, times: int = 1) -> None:
        """Until each of the jobs has ended so often."""

        def are_over() -> bool:
            ends = self.ends()
            return all(len(ends.get(job_id, ())) >= times for job_id in jobs)

        await wait_until(are_over, timeout, f"the end of {len(jobs)} jobs at the gateway")

    def check_numbers(self, jobs: set[str]) -> None:
        """Every event of these jobs came, in order, from the first on; and of no other job anything.

        A job that was over and is queued again is told by a snapshot first, which stands for the events before it, and
        the last of these once more.
        """
        told = self.jobs()
        assert told.keys() == jobs
        for job_id, events in told.items():
            last, after_snapshot = 0, False
            for name, payload in events:
                is_snapshot = name == "job-snapshot"
                expected = payload["seq"] >= last if is_snapshot else payload["seq"] == last + (not after_snapshot)
                assert expected or payload["seq"] == last + 1, (job_id, events)
                last, after_snapshot = payload["seq"], is_snapshot
