"""simulate."""

from pathlib import Path
from typing import Any

import pytest

from jobcast.shared.events import JobLog
from tests.worker.conftest import Bench
from tests.worker.jobs import error_of, handled, result_of


async def test_a_simulation_steps_logs_and_fails_as_asked(bench: Bench, tmp_path: Path) -> None:
    events = await handled(
        bench, tmp_path, "simulate", {"steps": 4, "duration": 0.1, "logEvery": 2, "failAt": 4}, "demo"
    )
    assert [event.line for event in events if isinstance(event, JobLog)] == ["step 2 of 4 done"]
    assert events[-1].error == "SimulatedFailure: failed at step 4 of 4, as asked"  # type: ignore[attr-defined]
    result = await result_of(bench, tmp_path, "simulate", {"steps": 3, "duration": 0}, "demo")
    assert result == {"steps": 3}


@pytest.mark.parametrize(
    "data",
    [{"steps": 0, "duration": 1}, {"steps": 1, "duration": -1}, {"steps": 10**9, "duration": 1}, {"steps": 2},
     {"steps": 2, "duration": 1, "failAt": 3}, {"steps": 2, "duration": 1, "logEvery": 0}],
)  # fmt: skip
async def test_a_simulation_is_bounded(bench: Bench, tmp_path: Path, data: Any) -> None:
    assert (await error_of(bench, tmp_path, "simulate", data, "demo")).startswith("BadData: ")
