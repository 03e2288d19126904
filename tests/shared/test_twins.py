"""Duplicates, disorder, late attempts: a search for steps that break the promise or part the twins."""

import asyncio

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from jobcast.shared.redis import connect
from tests.shared.twins import Twins


@pytest.mark.timeout(3600)
def test_no_order_of_steps_breaks_the_promise_or_parts_the_twins(redis_url: str) -> None:
    long = settings.get_current_profile_name() == "long"
    with asyncio.Runner() as runner:
        client = connect(redis_url, name="twins")

        class Here(Twins):
            """The machine on this test's server."""

        Here.runner, Here.client = runner, client
        try:
            run_state_machine_as_test(Here, settings=settings.get_profile("long" if long else "usual"))
        finally:
            runner.run(client.aclose())
            print(f"{Here.steps} steps, {Here.taken} events taken")
    assert Here.taken > 700
