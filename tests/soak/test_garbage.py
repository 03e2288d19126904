"""The short version of the soak of rubbish; how long it took is for the long one to judge."""

from tests.gateway.conftest import StartGateway, start_gateway
from tests.gateway.crowd import gauge
from tests.gateway.support import until_ready
from tests.soak.garbage import measure
from tests.soak.stage import Stage

__all__ = ["start_gateway"]


async def test_after_rubbish_of_every_kind_the_next_event_is_told_by_every_door(
    start_gateway: StartGateway, redis_url: str
) -> None:
    gateway = start_gateway(redis_url)
    await until_ready(gateway)
    took, published = await measure(Stage(redis_url, gateway), rounds=1)
    assert {door: len(each) for door, each in took.items()} == dict.fromkeys(took, published)
    assert await gauge(gateway.url, "jobcast_quarantined_total") == published
    gateway.check_log()
