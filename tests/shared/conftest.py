"""How long the search for a counterexample goes on: `pytest --hypothesis-profile=long` takes 10^5 steps and more."""

from hypothesis import HealthCheck, settings

_ANY_SPEED = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]

settings.register_profile(
    "usual", max_examples=150, stateful_step_count=30, deadline=None, suppress_health_check=_ANY_SPEED
)
settings.register_profile(
    "long", max_examples=2600, stateful_step_count=50, deadline=None, suppress_health_check=_ANY_SPEED
)
