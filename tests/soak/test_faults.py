"""The short version of the faults: all kinds together, with a seed that stays the same."""

from pathlib import Path

from tests.soak.faults import Plan, soak


async def test_the_promise_is_kept_whatever_is_broken(redis_binary: Path) -> None:
    outcome = await soak(Plan(seed=7, seconds=10, clients=24), redis_binary)
    assert outcome.violations == []
    assert len(outcome.faults) >= 3
