"""When a queue is healthy and a job stuck. Named for reference-systems.md."""

import pytest

from jobcast.shared.clock import now_ms
from jobcast.shared.health import Health, Thresholds
from jobcast.shared.keys import Keys
from tests.shared.bullmq import Site


def health(site: Site, **thresholds: float) -> Health:
    return Health(site.queues, Keys(), Thresholds(**thresholds))  # type: ignore[arg-type]


@pytest.mark.parametrize(("failed", "waiting", "healthy"), [(99, 999, True), (100, 999, False), (99, 1000, False)])
async def test_system_2_healthy_while_failed_below_100_and_waiting_below_1000(
    site: Site, failed: int, waiting: int, *, healthy: bool
) -> None:
    site.behind.zadd("bull:films:failed", {f"f{number}": number for number in range(failed)})
    site.behind.lpush("bull:films:wait", *(f"w{number}" for number in range(waiting - 1)))
    site.behind.zadd("bull:films:prioritized", {"p": 1})
    found = await health(site).look("films")
    assert (found.healthy, found.health) == (healthy, "ok" if healthy else "degraded")
    assert len(found.reasons) == (not healthy)
    assert (await health(site, failed=1000, waiting=10_000).look("films")).healthy


def active_for(site: Site, job_id: str, seconds: float, name: str = "encode") -> None:
    site.behind.lpush("bull:films:active", job_id)
    site.behind.hset(
        f"bull:films:{job_id}", mapping={"name": name, "processedOn": now_ms() - round(seconds * 1000), "data": "{}"}
    )


async def test_system_2_stuck_is_active_for_over_5_minutes(site: Site) -> None:
    active_for(site, "young", 290)
    active_for(site, "old", 310)
    found = await health(site).look("films")
    assert [(job.id, job.name, job.allowed) for job in found.stuck] == [("old", "encode", 300_000)]
    assert found.stuck[0].active_for >= 310_000
    assert found.healthy
    assert [job.id for job in (await health(site, stuck_after=60).look("films")).stuck] == ["old", "young"]


async def test_system_4_stale_after_is_asked_of_the_job_name(site: Site) -> None:
    active_for(site, "short", 310)
    active_for(site, "long", 44 * 60, "calculate-similarity")
    active_for(site, "too-long", 46 * 60, "calculate-similarity")
    site.behind.hset(
        "jobcast:queue:{films}:definition", "jobs", '{"calculate-similarity": {"timeout": 1800, "staleAfter": 2700}}'
    )
    assert [job.id for job in (await health(site).look("films")).stuck] == ["too-long", "short"]


async def test_a_definition_that_cannot_be_read_leaves_the_default(site: Site) -> None:
    active_for(site, "old", 310)
    site.behind.hset("jobcast:queue:{films}:definition", "jobs", '{"encode": 7}')
    assert [job.id for job in (await health(site).look("films")).stuck] == ["old"]


async def test_a_queue_that_never_was_is_healthy(site: Site) -> None:
    found = await health(site).look("nobody")
    assert (found.healthy, found.paused, found.stuck, sum(found.counts.values())) == (True, False, [], 0)
