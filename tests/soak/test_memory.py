"""The short version of the soak in which Redis runs out of memory."""

from pathlib import Path

from tests.soak.memory import soak


async def test_nobody_is_told_ok_by_a_redis_without_memory_that_did_not_record_it(redis_binary: Path) -> None:
    notes = await soak(redis_binary, seed=7, seconds=4)
    assert notes.violations == []
    assert all(notes.yes[what] for what in ("append", "submit", "cancel", "retry"))
    assert notes.no["append"]
    assert notes.no["submit"]
