"""The seam between the record that is read and the feed that runs on: the promise holds whatever happens between."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.gateway.seam import World


@settings(max_examples=4000)
@given(history=st.integers(2, 12), script=st.binary(max_size=80))
def test_a_client_is_told_everything_once_and_in_order_whatever_happens_in_between(history: int, script: bytes) -> None:
    World(history).run(script)


STEPS = [step.__name__ for step in World(4)._steps]


def told_by(*steps: str) -> bytes:
    return bytes(STEPS.index(step) for step in steps)


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(told_by("queue", "read", "start", "complete", "lose", "suspect"), id="lost while a reading is on"),
        pytest.param(told_by("read", "finish_reading", "queue", "start", "complete", "lose"), id="all of it lost"),
        pytest.param(told_by("queue", "start", "read", "progress", "deliver", "deliver"), id="in the record and live"),
        pytest.param(told_by("queue", "read", "finish_reading", "forget", "queue", "deliver"), id="begun again"),
    ],
)
def test_a_client_is_told_everything_where_it_once_was_not(script: bytes) -> None:
    World(4).run(script)
