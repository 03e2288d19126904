"""The small version of the churn."""

from tests.gateway.conftest import StartGateway, start_gateway
from tests.gateway.support import until_ready
from tests.soak.churn import measure

__all__ = ["start_gateway"]


async def test_two_thousand_clients_that_come_and_go_leave_nothing_behind(
    start_gateway: StartGateway, redis_url: str
) -> None:
    gateway = start_gateway(redis_url)
    await until_ready(gateway)
    before, after = await measure(gateway, 2000)
    assert after.is_as(before)
    assert after.memory - before.memory <= 4 * 1024 * 1024
    gateway.check_log()
