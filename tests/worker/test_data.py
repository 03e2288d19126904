"""Input defended against when run: what a handler does not take fails before any work."""

from typing import Any, Literal

import msgspec
import pytest

from jobcast import Context, job
from jobcast.shared.errors import BadSettings
from jobcast.shared.events import JobCompleted, JobFailed
from tests.worker.conftest import Bench


class AllMarkets(msgspec.Struct, tag="global", tag_field="type"):
    """Reconcile everything."""


class OneMarket(msgspec.Struct, tag="market", tag_field="type", rename="camel"):
    """Reconcile one market, asked for by an administrator."""

    market: str
    admin_address: str
    ip: str
    correlation_id: str


Reconciliation = AllMarkets | OneMarket
WHOLE = {"type": "market", "market": "m-1", "adminAddress": "0xabc", "ip": "127.0.0.1", "correlationId": "c-1"}


@pytest.mark.parametrize("data", [{"type": "global"}, WHOLE], ids=["global", "market"])
async def test_a_handler_is_given_its_data_as_the_type_it_asked_for(bench: Bench, data: Any) -> None:
    @bench.handler(data=Reconciliation)
    async def go(ctx: Context) -> str:
        return type(ctx.data).__name__

    job_id = await bench.submit(data)
    async with bench.worker():
        last = (await bench.ended(job_id))[-1]
    assert isinstance(last, JobCompleted)
    assert last.result == ("AllMarkets" if data["type"] == "global" else "OneMarket")


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ({"type": "everything"}, "everything"), ({}, "type"), (None, "object"), ([], "object"),
        ({**WHOLE, "ip": 7}, "ip"), ({name: value for name, value in WHOLE.items() if name != "market"}, "market"),
    ],
    ids=str,
)  # fmt: skip
async def test_an_unknown_type_or_a_missing_field_fails_at_once_before_any_work(
    bench: Bench, data: Any, named: str
) -> None:
    worked: list[Any] = []

    @bench.handler(data=Reconciliation)
    async def go(ctx: Context) -> None:
        worked.append(ctx.data)

    job_id = await bench.submit(data, attempts=3)
    async with bench.worker():
        events = await bench.ended(job_id)
    assert [event.kind for event in events] == ["job-queued", "job-failed"]
    last = events[-1]
    assert isinstance(last, JobFailed)
    assert last.final
    assert last.error.startswith("BadData: job go: ")
    assert named in last.error
    assert worked == []


def test_a_type_that_cannot_be_checked_is_refused_when_it_is_declared() -> None:
    with pytest.raises(BadSettings, match="as a type msgspec can check"):

        @job("work", "odd", data=Literal[1.5])
        async def go(_: Context) -> None: ...
