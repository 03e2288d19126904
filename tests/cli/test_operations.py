"""``jobcast queue`` and ``jobcast job`` against a real gateway. Named for reference-systems.md."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from jobcast.cli import exits
from jobcast.cli.main import main
from jobcast.shared.events import JobCompleted, JobLog, JobProgress
from tests.contract.jobs import NOW
from tests.gateway.support import served
from tests.shared.bullmq import Site, open_site
from tests.support.redis_server import RedisServer


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOBCAST_URL", raising=False)


class Desk:
    """A gateway, and the command typed at it."""

    def __init__(self, url: str, site: Site, capsys: pytest.CaptureFixture[str]) -> None:
        self.url = url
        self.site = site
        self._capsys = capsys

    async def type(self, *args: str, code: int = 0) -> str:
        """What it prints; of an error, its sentence."""
        import asyncio

        assert await asyncio.to_thread(main, [*args, "--url", self.url]) == code
        out, err = self._capsys.readouterr()
        return out if code == 0 else err

    async def failed(self) -> str:
        job_id = (await self.site.queues.submit("films", "encode", {"film": 7})).job_id
        await self.site.fail(job_id)
        return job_id


@pytest.fixture
async def desk(redis_url: str, redis_server: RedisServer, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Desk]:
    with redis_server.client() as behind:
        async with open_site(redis_url, behind) as site, served(redis_url) as house:
            yield Desk(house.url, site, capsys)


async def test_system_2_a_job_is_shown_whole_and_retried(desk: Desk) -> None:
    job_id = await desk.failed()
    text = await desk.type("job", "show", job_id)
    for line in ("state     failed", "attempts  1 of 1", 'data      {"film":7}', "error     disk full"):
        assert line in text
    assert "stack:" in text
    assert json.loads(await desk.type("job", "show", job_id, "--json"))["failedReason"] == "disk full"
    assert "job-failed" in await desk.type("job", "history", job_id)
    lines = (await desk.type("job", "history", job_id, "--json")).splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["job-queued", "job-queue-to-start", "job-failed"]
    assert await desk.type("job", "retry", job_id) == f"{job_id} is tried again\n"
    assert await desk.site.state(job_id) == "waiting"


async def test_what_a_job_told_is_shown_ours_beside_bullmq_s(desk: Desk) -> None:
    job_id = (await desk.site.queues.submit("films", "encode", {})).job_id
    common: dict[str, Any] = {"job_id": job_id, "queue": "films", "attempt": 1, "timestamp": NOW}
    async with desk.site.taken(job_id) as job:
        await desk.site.journal.append(JobProgress(progress=100 / 3, percent=100 / 3, **common))
        await desk.site.journal.append(JobLog(line="frame 7 is dark", level="warning", **common))
        await job.log("by a worker in Node")
    text = await desk.type("job", "show", job_id)
    assert "progress  33.33%" in text
    assert text.endswith("log:\n  [warning] frame 7 is dark\n  by a worker in Node\n")
    await desk.site.journal.append(JobCompleted(result=None, processing_time=1, total_time=2, **common))
    assert "progress  100%" in await desk.type("job", "show", job_id)


async def test_a_parent_is_shown_with_its_children(desk: Desk) -> None:
    children = [{"queue": "films", "name": "encode", "opts": {"jobId": f"c-{number}"}} for number in range(3)]
    flow = {"queue": "films", "name": "join", "opts": {"jobId": "parent"}, "children": children}
    await desk.type("submit-flow", json.dumps(flow))
    await desk.site.complete("c-0")
    assert "children  1 of 3 completed, 2 waiting" in await desk.type("job", "show", "parent")
    told = json.loads(await desk.type("job", "show", "parent", "--json"))["children"]
    assert (told["total"], told["completed"], told["waiting"]) == (3, 1, 2)


async def test_a_delayed_job_is_promoted_and_removed(desk: Desk) -> None:
    from jobcast.shared.options import read_options

    job_id = (await desk.site.queues.submit("films", "encode", {}, read_options({"delay": 60_000}))).job_id
    assert await desk.type("job", "promote", job_id) == f"{job_id} waits to be taken\n"
    assert "only a delayed job" in await desk.type("job", "promote", job_id, code=exits.USAGE)
    assert json.loads(await desk.type("job", "remove", job_id, "--json")) == {"jobId": job_id, "removed": [job_id]}
    assert "not kept" in await desk.type("job", "remove", job_id, code=exits.FAILED)


async def test_a_job_is_cancelled(desk: Desk) -> None:
    job_id = (await desk.site.queues.submit("films", "encode", {})).job_id
    assert await desk.type("job", "cancel", job_id, "--reason", "too late") == f"{job_id} is cancelled\n"
    assert "too late" in await desk.type("job", "history", job_id)


async def test_system_2_queues_are_listed_paused_drained_retried_and_cleaned(desk: Desk) -> None:
    failed = [await desk.failed() for _ in range(3)]
    listed = (await desk.type("queue", "jobs", "films", "--limit", "2")).splitlines()
    assert [line.split()[:4] for line in listed[1:]] == [[each, "encode", "failed", "1"] for each in failed[:0:-1]]
    assert listed[1].endswith("disk full")
    head, row = (await desk.type("queue", "list")).splitlines()
    assert head.split() == ["QUEUE", "WAITING", "ACTIVE", "DELAYED", "COMPLETED", "FAILED", "HEALTH", "STUCK"]
    assert row.split() == ["films", "0", "0", "0", "0", "3", "ok", "0"]
    assert await desk.type("queue", "pause", "films") == "films is paused\n"
    assert "ok, paused" in await desk.type("queue", "show", "films")
    assert await desk.type("queue", "resume", "films") == "films goes on\n"
    assert await desk.type("queue", "retry-failed", "films") == "3 jobs of films tried again\n"
    assert await desk.type("queue", "drain", "films", "--delayed") == "3 jobs of films cancelled\n"
    assert [await desk.site.state(job_id) for job_id in failed] == ["cancelled"] * 3
    await desk.failed()
    assert await desk.type("queue", "clean", "films", "--state", "failed") == "0 jobs of films forgotten\n"
    done = json.loads(await desk.type("queue", "clean", "films", "--state", "failed", "--older-than", "0", "--json"))
    assert (done["jobs"], done["left"]) == (1, 0)


async def test_system_2_a_queue_shows_its_stuck_jobs_and_why_it_is_not_healthy(desk: Desk) -> None:
    desk.site.behind.lpush("bull:films:active", "old")
    desk.site.behind.hset("bull:films:old", mapping={"name": "enc\x1b[31mode", "processedOn": 1, "data": "{}"})
    desk.site.behind.zadd("bull:films:failed", {f"f{number}": 1 for number in range(100)})
    text = await desk.type("queue", "show", "films")
    assert "degraded" in text
    assert "! 100 jobs have failed; healthy is below 100" in text
    assert "old" in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["queue", "pause", "a/b"], exits.USAGE),
        (["queue", "clean", "q"], exits.USAGE),
        (["queue", "clean", "q", "--state", "active"], exits.USAGE),
        (["job", "show", "a b"], exits.USAGE),
        (["job", "retry", "x", "--url", "http://127.0.0.1:1"], exits.UNREACHABLE),
        (["queue", "list", "--url", "http://127.0.0.1:1"], exits.UNREACHABLE),
    ],
)
def test_errors_are_one_sentence_and_an_exit_code(
    args: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(args) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err


@pytest.mark.parametrize("group", ["queue", "job"])
def test_help_fits_a_terminal(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    found: Any = main([group, "--help"])
    assert found == 0
    said = capsys.readouterr().out
    assert f"jobcast {group}" in said
    assert all(len(line) <= 100 for line in said.splitlines())
