"""Duplicates, disorder, late attempts: a search for steps that break the law or part the twins."""

from tests.shared.searching import search


def test_no_order_of_steps_breaks_the_law_or_parts_the_twins(redis_url: str) -> None:
    found = search(redis_url, seed=7, examples=150, steps=30)
    assert found.steps > 3000
    assert found.taken > 700
