"""A queue is watched with the promise of a single job, whatever happens between the record and the feed."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.gateway.queue_seam import QueueWorld


@settings(max_examples=1500)
@given(history=st.integers(2, 12), script=st.binary(min_size=60, max_size=120))
def test_a_client_is_told_everything_of_every_job_whatever_happens_in_between(history: int, script: bytes) -> None:
    QueueWorld(history).run(script)


CUT_BEHIND_ITS_PLACE = (
    "queue read start read progress progress deliver read read drain drain read next_job read resume deliver"
)


def test_what_is_told_behind_the_place_of_a_catching_up_is_not_told_again_to_who_resumes() -> None:
    world = QueueWorld(4)
    steps = [step.__name__ for step in world._steps]
    world.run(bytes(steps.index(step) for step in CUT_BEHIND_ITS_PLACE.split()))
