"""Every row of the table of malformed input, against a gateway in a process of its own, beside a neighbour."""

import pytest

from tests.gateway.engine.attempts import PATIENCE, attempt
from tests.gateway.engine.conftest import TOOK
from tests.gateway.engine.malformed import ROWS
from tests.gateway.engine.neighbour import undisturbed
from tests.gateway.engine.rows import Row
from tests.gateway.support import GatewayProcess


@pytest.mark.parametrize("row", [pytest.param(row, id=f"{row.door}, {row.name}") for row in ROWS])
async def test_malformed_input_has_its_documented_outcome_and_no_other(target: GatewayProcess, row: Row) -> None:
    async with undisturbed(target.port):
        took = await attempt(row, target.port)
        TOOK.append(took)
        assert took < PATIENCE


def test_the_table_has_no_row_twice() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS) >= 150
