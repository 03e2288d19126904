"""Priorities by name: critical first, maintenance last, in a real BullMQ queue."""

import random
from typing import Any

import pytest

from jobcast.shared.errors import BadRequest
from jobcast.shared.options import PRIORITIES, JobOptions, check_priority, read_options
from tests.shared.bullmq import Site

IN_ORDER = ["critical", "high", "normal", "low", "maintenance"]


async def test_priorities_by_name_are_taken_critical_first_and_maintenance_last(site: Site) -> None:
    jobs: dict[str, str] = {}
    for name in random.sample(IN_ORDER, len(IN_ORDER)):
        jobs[name] = (await site.queues.submit("films", "encode", {}, read_options({"priority": name}))).job_id
    for name in IN_ORDER:
        async with site.taken(jobs[name]):
            pass


async def test_named_priorities_stand_among_numbers_by_the_one_mapping(site: Site) -> None:
    assert PRIORITIES == {"critical": 1, "high": 4, "normal": 6, "low": 8, "maintenance": 10}
    said: list[Any] = ["normal", 5, 7, "critical", "maintenance", 2]
    jobs = [(await site.queues.submit("films", "encode", {}, JobOptions(priority=each))).job_id for each in said]
    for at in (3, 5, 1, 0, 2, 4):
        async with site.taken(jobs[at]):
            pass


@pytest.mark.parametrize("given", ["hihg", "", "HIGH", "1"])
def test_a_priority_nobody_knows_is_refused_with_those_there_are(given: str) -> None:
    with pytest.raises(BadRequest, match="one of critical, high, normal, low, maintenance"):
        read_options({"priority": given})
    with pytest.raises(BadRequest, match="one of critical, high, normal, low, maintenance"):
        JobOptions(priority=given)


def test_a_priority_is_typed_as_a_name_or_a_number() -> None:
    assert [check_priority(text) for text in ("high", "0", "12")] == ["high", 0, 12]
    for text in ("-1", "1.5", "9" * 30, "soon", "٣x"):
        with pytest.raises(BadRequest):
            check_priority(text)
