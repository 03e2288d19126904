"""De-duplication by id and by state, and jobs delayed by a span or until a date."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest

from jobcast.shared.errors import BadRequest
from jobcast.shared.options import JobOptions, read_options
from tests.shared.bullmq import Site

NIGHTLY = read_options({"deduplication": {"id": "nightly"}})


async def test_de_duplication_by_job_id_names_the_job_that_stands(site: Site) -> None:
    options = read_options({"jobId": "order-sync-7"})
    first = await site.queues.submit("films", "encode", {}, options)
    second = await site.queues.submit("films", "encode", {}, options)
    assert (first.job_id, first.fresh) == ("order-sync-7", True)
    assert (second.job_id, second.fresh) == ("order-sync-7", False)


async def test_de_duplication_by_state_skips_while_waiting_or_active_and_no_longer(site: Site) -> None:
    first = await site.queues.submit("films", "encode", {}, NIGHTLY)
    waiting = await site.queues.submit("films", "encode", {}, NIGHTLY)
    async with site.taken(first.job_id):
        active = await site.queues.submit("films", "encode", {}, NIGHTLY)
    assert {each.job_id for each in (waiting, active)} == {first.job_id}
    assert [each.fresh for each in (waiting, active)] == [False, False]


async def test_de_duplication_by_state_skips_while_delayed(site: Site) -> None:
    options = read_options({"delay": 60_000, "deduplication": {"id": "nightly"}})
    first = await site.queues.submit("films", "encode", {}, options)
    again = await site.queues.submit("films", "encode", {}, NIGHTLY)
    assert (again.job_id, again.fresh) == (first.job_id, False)


async def test_de_duplication_by_state_ends_with_the_job(site: Site) -> None:
    first = await site.queues.submit("films", "encode", {}, NIGHTLY)
    await site.complete(first.job_id)
    again = await site.queues.submit("films", "encode", {}, NIGHTLY)
    assert again.fresh
    assert again.job_id != first.job_id


async def test_a_replaced_job_is_told_to_be_cancelled(site: Site) -> None:
    options = read_options({"delay": 60_000, "deduplication": {"id": "nightly", "replace": True}})
    first = await site.queues.submit("films", "encode", {"n": 1}, options)
    second = await site.queues.submit("films", "encode", {"n": 2}, options)
    assert second.fresh
    assert second.job_id != first.job_id
    assert await site.kept(first.job_id) is None
    assert await site.kinds(first.job_id) == ["job-queued", "job-cancelled"]
    assert await site.kinds(second.job_id) == ["job-queued"]


async def test_for_its_ttl_a_deduplicated_job_is_not_added_again(site: Site) -> None:
    options = read_options({"deduplication": {"id": "nightly", "ttl": 150}})
    first = await site.queues.submit("films", "encode", {}, options)
    await site.complete(first.job_id)
    assert not (await site.queues.submit("films", "encode", {}, options)).fresh
    await asyncio.sleep(0.2)
    assert (await site.queues.submit("films", "encode", {}, options)).fresh


async def test_a_job_delayed_until_a_date_is_due_then(site: Site) -> None:
    due = datetime.now(timezone(timedelta(hours=5))) + timedelta(minutes=10)
    for options in (read_options({"delayUntil": due.isoformat()}), JobOptions(delay_until=due)):
        job = await site.kept((await site.queues.submit("films", "encode", {}, options)).job_id)
        assert abs(job.timestamp + job.delay - due.timestamp() * 1000) <= 1


async def test_a_date_that_is_past_is_at_once(site: Site) -> None:
    options = read_options({"delayUntil": "2020-01-01T00:00:00Z"})
    job_id = (await site.queues.submit("films", "encode", {}, options)).job_id
    assert site.behind.lrange("bull:films:wait", 0, -1) == [job_id]
    assert await site.state(job_id) == "waiting"


@pytest.mark.parametrize("date", ["2030-01-01T00:00:00", "2030-01-01", "tomorrow", 1893456000, ""])
def test_a_date_without_its_zone_or_that_is_none_is_refused(date: object) -> None:
    with pytest.raises(BadRequest, match="delayUntil"):
        read_options({"delayUntil": date})


def test_a_date_is_refused_that_has_no_zone_comes_with_a_delay_or_lies_too_far_off() -> None:
    with pytest.raises(BadRequest, match="time zone"):
        JobOptions(delay_until=datetime(2030, 1, 1))  # noqa: DTZ001  the very slip
    with pytest.raises(BadRequest, match="got both"):
        read_options({"delay": 5, "delayUntil": "2030-01-01T00:00:00Z"})
    with pytest.raises(BadRequest, match="31 years"):
        JobOptions(delay_until=datetime(2090, 1, 1, tzinfo=UTC)).for_bullmq(1_700_000_000_000)


def test_extend_without_a_ttl_is_refused() -> None:
    with pytest.raises(BadRequest, match="ttl"):
        read_options({"deduplication": {"id": "x", "extend": True}})
