"""The short version of the rows: each fault once, few clients, and the promise. The times are for the long one."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.soak import client_rows, feed_rows, gateway_rows, redis_rows
from tests.soak.scene import ALL_DOORS, Row, Scene, Size, play
from tests.soak.tailing import ByTail


def together(*acts: Callable[[Scene], Awaitable[None]]) -> Callable[[Scene], Awaitable[None]]:
    """One row after the other in one house: starting it takes longer than most."""

    async def act(scene: Scene) -> None:
        for each in acts:
            await each(scene)

    return act


REDIS = Row(
    "rows 1 to 4",
    # Last the emptied one: a job that is over has no record any more.
    together(redis_rows.killed, redis_rows.hung, redis_rows.half_open, redis_rows.emptied),
    Size(24, 300, 2),
    linked=True,
)
OTHERS = Row(
    "rows 5 to 9, and 33",
    together(
        feed_rows.killed_again_and_again,
        feed_rows.overflowed,
        gateway_rows.killed,
        gateway_rows.rolled,
        client_rows.flapped,
    ),
    Size(24, 300, 2),
    doors=(*ALL_DOORS, ByTail),
    environment=gateway_rows.ROLLING,
    fronted=True,
)


@pytest.mark.parametrize("row", [REDIS, OTHERS], ids=["redis", "others"])
async def test_the_rows_keep_the_promise(redis_binary: Path, row: Row) -> None:
    scene = await play(row, row.size, 7, redis_binary)
    assert scene.violations == []
