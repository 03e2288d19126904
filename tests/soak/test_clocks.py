"""The short version of the soak in which clocks are wrong and step."""

from pathlib import Path

from tests.soak.clocks import soak
from tests.support.clocks import find_faketime
from tests.support.parts import require


async def test_clocks_that_step_disconnect_nobody_and_change_no_order(redis_binary: Path) -> None:
    seen = await soak(redis_binary, require(find_faketime(), "no libfaketime (Debian: faketime)"), seed=7, seconds=8)
    assert seen.violations == []
    assert seen.wrong > 0
