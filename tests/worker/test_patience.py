"""What a handler is told when Redis stays away for longer than anybody waits, and what is bounded meanwhile."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from jobcast import Context, SyncContext
from jobcast.shared.errors import RateLimited, Unavailable
from jobcast.shared.events import Event, JobFailed, JobLog, JobProgress, JobStarted, decode
from jobcast.shared.journal import MemoryJournal
from jobcast.shared.journal.contract import Appended, Journal
from jobcast.worker import reporter
from jobcast.worker.consumer import Timing
from jobcast.worker.reporter import Attempt, AttemptReporter, Counts
from tests.conftest import StartRedis
from tests.support.waiting import wait_until
from tests.worker.conftest import Bench, bench_at

STEADY = Timing(lock=20, renew=5, stalled_check=20, idle=1)


async def _reporter(journal: Journal, counts: Counts | None = None) -> AttemptReporter:
    common: dict[str, Any] = {"job_id": "j1", "queue": "work", "attempt": 1, "timestamp": 1}
    await journal.append(JobStarted(**common, queue_to_start_time=0, worker="w"))
    return AttemptReporter(journal, Attempt("j1", "work", "go"), counts=counts)


def _lines(events: list[Event]) -> list[str]:
    return [event.line for event in events if isinstance(event, JobLog)]


@pytest.mark.parametrize("blocking", [True, False])
async def test_a_handler_is_told_of_a_line_that_is_lost_and_may_go_on(
    start_redis: StartRedis, monkeypatch: pytest.MonkeyPatch, blocking: bool
) -> None:
    monkeypatch.setattr(reporter, "PATIENCE", 0.5)
    redis = start_redis(appendonly=True, config={"appendfsync": "always"})
    async with bench_at(redis.url) as bench:
        told: list[str] = []
        if blocking:

            @bench.handler()
            def go_thread(ctx: SyncContext) -> str:
                ctx.log("first")
                redis.kill()
                try:
                    ctx.log("lost")
                except Unavailable as error:
                    told.append(str(error))
                redis.start()
                ctx.log("last")
                return "done"
        else:

            @bench.handler()
            async def go(ctx: Context) -> str:
                await ctx.log("first")
                redis.kill()
                try:
                    await ctx.log("lost")
                except Unavailable as error:
                    told.append(str(error))
                await asyncio.to_thread(redis.start)
                await ctx.log("last")
                return "done"

        job_id = await bench.submit()
        async with bench.worker(timing=STEADY):
            await wait_until(lambda: told, 20)
            await wait_until(redis.answers, 10)
            events = await bench.ended(job_id, 20)
    assert told == ["the line was not recorded within 0.5 s: Redis cannot be reached; try again"]
    assert _lines(events) == ["first", "last"]
    assert events[-1].kind == "job-completed"


async def test_a_handler_that_lets_it_pass_fails_and_is_tried_again(
    start_redis: StartRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporter, "PATIENCE", 0.5)
    redis = start_redis(appendonly=True, config={"appendfsync": "always"})
    async with bench_at(redis.url) as bench:
        lost = asyncio.Event()

        @bench.handler()
        async def go(ctx: Context) -> None:
            if ctx.attempt == 1:
                redis.kill()
                try:
                    await ctx.log("lost")
                finally:
                    lost.set()

        job_id = await bench.submit(attempts=2)
        async with bench.worker(timing=STEADY):
            await asyncio.wait_for(lost.wait(), 20)
            await asyncio.to_thread(redis.start)
            events = await bench.ended(job_id, 20)
    failed = next(event for event in events if isinstance(event, JobFailed))
    assert failed.error.startswith("Unavailable: the line was not recorded within 0.5 s: ")
    assert not failed.final
    assert (events[-1].kind, events[-1].attempt) == ("job-completed", 2)


@pytest.mark.parametrize("hung", [True, False])
async def test_lines_that_wait_for_each_other_wait_for_one_patience_in_all(
    start_redis: StartRedis, monkeypatch: pytest.MonkeyPatch, hung: bool
) -> None:
    """Each began to count when the one before it had given up: the twentieth was told after twenty minutes."""
    monkeypatch.setattr(reporter, "PATIENCE", 1.0)
    redis = start_redis()
    async with bench_at(redis.url) as bench:
        bench.commands.connection_pool.connection_kwargs.update(socket_timeout=0.3, socket_connect_timeout=0.3)
        counts = Counts()
        report = await _reporter(bench.journal, counts)
        if hung:
            redis.pause()
        else:
            redis.kill()
        async with asyncio.timeout(10):
            answers = await asyncio.gather(*(report.log(f"{n}") for n in range(20)), return_exceptions=True)
        assert {type(answer) for answer in answers} == {Unavailable}
        assert counts.unrecorded == 20
        await report.close()


async def test_lines_nobody_waits_for_are_bounded_and_in_order(bench: Bench) -> None:
    report = await _reporter(bench.journal)
    answers = await asyncio.gather(*(report.log(f"{n}") for n in range(1100)), return_exceptions=True)
    assert answers[:1000] == [None] * 1000
    assert {str(answer) for answer in answers[1000:]} == {
        "1000 lines of job j1 wait to be recorded; wait for each log()"
    }
    assert isinstance(answers[1000], RateLimited)
    await report.log("and now")
    lines = _lines(await bench.events("j1"))
    assert lines[-1] == "and now"
    assert lines[:-1] == [f"{n}" for n in range(1000)][-len(lines) + 1 :]
    await report.close()


class _LosesAnswers(MemoryJournal):
    """Records what it is told and fails to say so, as often as ``lose``."""

    lose = 0

    async def append(self, event: Event, **how: Any) -> Appended:
        answer = await super().append(event, **how)
        if self.lose and isinstance(event, JobProgress):
            self.lose -= 1
            raise Unavailable("the answer was lost")
        return answer


@pytest.mark.parametrize("follow", [lambda report: report.log("a line"), lambda _: asyncio.sleep(0.5)])
async def test_a_progress_whose_answer_was_lost_is_one_event(follow: Callable[[AttemptReporter], Any]) -> None:
    journal = _LosesAnswers()
    report = await _reporter(journal)
    journal.lose = 2
    await report.progress(40)
    await follow(report)
    await report.progress(41, "next")
    events = [decode(entry.wire) for entry in await journal.history("j1")]
    assert [event.progress for event in events if isinstance(event, JobProgress)] == [40, 41]
    await report.close()
