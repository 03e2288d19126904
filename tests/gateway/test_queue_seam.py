"""A queue is watched with the promise of a single job, whatever happens between the record and the feed."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.gateway.queue_seam import QueueWorld


@settings(max_examples=3000)
@given(history=st.integers(2, 12), script=st.binary(max_size=120))
def test_a_client_is_told_everything_of_every_job_whatever_happens_in_between(history: int, script: bytes) -> None:
    QueueWorld(history).run(script)
