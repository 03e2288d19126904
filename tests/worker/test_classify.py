"""Errors by kind: what an error means for its job, by a queue's own table."""

import asyncio
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from threading import Thread
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from jobcast import Context, RetryAfter, SyncContext, Unrecoverable
from jobcast.shared.errors import BadSettings, Unavailable
from jobcast.shared.events import JobFailed, JobStarted
from jobcast.shared.options import Backoff
from jobcast.worker import runner
from jobcast.worker.classify import COMMON_ERRORS, LONGEST_WAIT, ErrorRule, Ruling, classify, limit_reset
from jobcast.worker.errors import BadData
from jobcast.worker.queues import QueueDefinition
from tests.worker.conftest import Bench

NOW = 1_790_000_000.0


def answered(status: int, **headers: str) -> httpx.HTTPStatusError:
    request = httpx.Request("GET", "http://prices.test/")
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.HTTPStatusError("no", request=request, response=httpx.Response(status, headers=told))


class Closed(Exception):
    pass


def broken(_: BaseException) -> bool:
    raise RuntimeError("the predicate is broken")


@pytest.mark.parametrize(
    ("error", "ruling"),
    [
        (answered(429, retry_after="7"), Ruling("rate-limited", after=7.0)),
        (answered(429, retry_after=formatdate(NOW + 30, usegmt=True)), Ruling("rate-limited", after=30.0)),
        (answered(429, x_ratelimit_reset=str(NOW + 90)), Ruling("rate-limited", after=90.0)),
        (answered(429, ratelimit_reset="12"), Ruling("rate-limited", after=12.0)),
        (answered(429), Ruling("rate-limited", after=60.0)),
        (answered(429, retry_after="soon"), Ruling("rate-limited", after=60.0)),
        (answered(429, retry_after="9" * 15), Ruling("rate-limited", after=LONGEST_WAIT)),
        (answered(401), Ruling("authentication", never=True)),
        (answered(403), Ruling("authentication", never=True)),
        (answered(502), Ruling("server")),
        (httpx.ConnectError("refused"), Ruling("network")),
        (httpx.ReadTimeout("slow"), Ruling("network")),
        (ConnectionResetError(), Ruling("network")),
        (TimeoutError(), Ruling("network")),
        (answered(418), Ruling("unknown")),
        (ValueError("odd"), Ruling("unknown")),
        (Unrecoverable("no"), Ruling("unrecoverable", never=True)),
        (BadData("no"), Ruling("bad-data", never=True)),
        (RetryAfter(3), Ruling("retry-after", after=3.0)),
        (RetryAfter(10**9), Ruling("retry-after", after=LONGEST_WAIT)),
        (RetryAfter(10**400), Ruling("retry-after", after=LONGEST_WAIT)),
        (Unavailable("Redis is away"), Ruling("unavailable")),
    ],
)
def test_what_most_services_mean(error: BaseException, ruling: Ruling) -> None:
    assert classify(error, COMMON_ERRORS, NOW) == ruling


def test_the_first_rule_that_matches_decides_and_a_broken_predicate_is_passed_over() -> None:
    rules = (
        ErrorRule(broken, "broken", then="never"),
        ErrorRule((Closed, 418), "closed", then="later", after=5),
        ErrorRule(lambda error: "odd" in str(error), "odd", then="never"),
        ErrorRule(Exception, "rest"),
    )
    assert classify(Closed("odd"), rules, NOW) == Ruling("closed", after=5.0)
    assert classify(answered(418), rules, NOW) == Ruling("closed", after=5.0)
    assert classify(ValueError("odd"), rules, NOW) == Ruling("odd", never=True)
    assert classify(ValueError("even"), rules, NOW) == Ruling("rest")
    assert classify(Unrecoverable("odd"), rules, NOW) == Ruling("unrecoverable", never=True)


def test_a_reset_that_is_over_is_now() -> None:
    assert limit_reset({"X-RateLimit-Reset": str(NOW - 90)}, NOW) == 0
    assert limit_reset({"Retry-After": formatdate(NOW - 90, usegmt=True)}, NOW) == 0
    assert limit_reset({}, NOW) is None


@pytest.mark.parametrize(
    "how",
    [
        {"on": "429"}, {"on": True}, {"on": int}, {"on": (ValueError, None)}, {"on": 429, "kind": ""},
        {"on": 429, "then": "again"}, {"on": 429, "after": -1}, {"on": 429, "after": 10**6},
    ],
)  # fmt: skip
def test_a_rule_that_is_none_is_refused(how: dict[str, Any]) -> None:
    with pytest.raises(BadSettings):
        ErrorRule(**{"kind": "k", **how})


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "3", None])
def test_a_wait_that_is_none_is_refused(seconds: Any) -> None:
    with pytest.raises(ValueError, match="number of seconds"):
        RetryAfter(seconds)


class Service:
    """A real HTTP service that answers with what it is told, one after the other."""

    def __init__(self, *answers: tuple[int, dict[str, str]]) -> None:
        left = list(answers)

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, headers = left.pop(0)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> "Service":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def failures(events: list[Any]) -> list[JobFailed]:
    return [event for event in events if isinstance(event, JobFailed)]


async def test_exchange_sync_rate_limited_is_tried_again_after_the_limit_resets(bench: Bench) -> None:
    """One attempt is all it has, and the limit uses up none of it."""
    bench.registry.declare(QueueDefinition("work", errors=COMMON_ERRORS))

    with Service((429, {"Retry-After": "1"}), (200, {})) as service:

        @bench.handler()
        def go(_: SyncContext) -> None:
            httpx.get(service.url, trust_env=False).raise_for_status()

        job_id = await bench.submit(attempts=1)
        async with bench.worker():
            events = await bench.ended(job_id)
    assert [event.kind for event in events] == [
        "job-queued", "job-queue-to-start", "job-failed", "job-queue-to-start", "job-completed",
    ]  # fmt: skip
    (failed,) = failures(events)
    second = [event for event in events if isinstance(event, JobStarted)][1]
    assert (failed.final, failed.attempts, failed.max_attempts) == (False, 0, 1)
    assert failed.retry_at is not None
    assert 900 <= failed.retry_at - failed.timestamp <= 1100
    assert second.timestamp >= failed.retry_at
    assert failed.error.startswith("HTTPStatusError: ")
    assert int((await bench.bullmq(job_id))["atm"]) == 1


async def test_exchange_sync_authentication_is_never_tried_again(bench: Bench) -> None:
    bench.registry.declare(QueueDefinition("work", attempts=5, errors=COMMON_ERRORS))

    with Service((401, {})) as service:

        @bench.handler()
        def go(_: SyncContext) -> None:
            httpx.get(service.url, trust_env=False).raise_for_status()

        job_id = await bench.submit(attempts=5)
        async with bench.worker():
            (failed,) = failures(await bench.ended(job_id))
    assert (failed.final, failed.attempts, failed.max_attempts) == (True, 1, 5)
    assert await bench.state(job_id) == "failed"


async def test_exchange_sync_network_is_tried_again_and_unknown_is_logged_and_tried_again(bench: Bench) -> None:
    bench.registry.declare(QueueDefinition("work", errors=COMMON_ERRORS))

    @bench.handler()
    async def go(ctx: Context) -> None:
        if ctx.attempt == 1:
            async with httpx.AsyncClient(trust_env=False) as client:
                await client.get("http://127.0.0.1:1/")
        if ctx.attempt == 2:
            raise ValueError("nobody expected this")

    job_id = await bench.submit(attempts=3, backoff=Backoff("fixed", 10))
    with capture_logs() as logs:
        async with bench.worker():
            events = await bench.ended(job_id)
    assert events[-1].kind == "job-completed"
    assert [failed.attempts for failed in failures(events)] == [1, 2]
    told = [(each["kind"], each["final"]) for each in logs if each["event"] == "a job failed"]
    assert told == [("network", False), ("unknown", False)]


async def test_a_handler_says_itself_when_it_is_to_be_tried_again(bench: Bench) -> None:
    began: list[float] = []

    @bench.handler()
    async def go(_: Context) -> None:
        began.append(time.monotonic())
        if len(began) < 4:
            raise RetryAfter(0.2, "the book is being counted")

    job_id = await bench.submit(attempts=1)
    async with bench.worker():
        events = await bench.ended(job_id)
    assert events[-1].kind == "job-completed"
    assert [failed.error for failed in failures(events)] == ["RetryAfter: the book is being counted"] * 3
    assert all(later - earlier >= 0.19 for earlier, later in pairwise(began))


async def test_a_limit_that_never_resets_uses_up_attempts_in_the_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "MOST_POSTPONED", 2)

    @bench.handler()
    async def go(_: Context) -> None:
        await asyncio.sleep(0)
        raise RetryAfter(0)

    job_id = await bench.submit(attempts=2)
    async with bench.worker():
        events = await bench.ended(job_id)
    assert [(failed.attempts, failed.final) for failed in failures(events)] == [
        (0, False), (0, False), (1, False), (2, True),
    ]  # fmt: skip
