"""The short version of the faults: a few kinds at a time, with a seed that stays the same."""

from pathlib import Path

import pytest

from tests.soak.faults import Plan, soak


@pytest.mark.parametrize(
    "names",
    [
        ("kill-redis", "empty-redis", "hang-redis"),
        ("kill-gateway", "roll-gateway"),
        ("kill-feeds", "hang-gateway", "reset-clients"),
    ],
    ids=["redis", "gateway", "connection"],
)
async def test_the_promise_is_kept_whatever_is_broken(redis_binary: Path, names: tuple[str, ...]) -> None:
    outcome = await soak(Plan(seed=7, seconds=7, clients=24, only=names), redis_binary)
    assert outcome.violations == []
    assert outcome.faults.keys() == set(names)
