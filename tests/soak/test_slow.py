"""Who reads little, but goes on reading."""

import asyncio

from tests.gateway.conftest import StartGateway, start_gateway
from tests.gateway.crowd import dial, gauge
from tests.gateway.support import until_ready
from tests.soak.watchers import crowd, opening

__all__ = ["start_gateway"]


async def test_a_client_that_reads_a_little_all_the_time_is_kept_and_told_what_it_missed(
    start_gateway: StartGateway, redis_url: str
) -> None:
    gateway = start_gateway(redis_url, env={"JOBCAST_WRITE_DEADLINE": "1"})
    await until_ready(gateway)
    async with crowd(redis_url, gateway.port, 4, rate=100, details=20_000) as watching:
        connection = await dial(gateway.port, buffer=4096, said=opening(gateway.port, "j", 0))
        loop, told = asyncio.get_running_loop(), b""
        with connection:
            # Far less than the two megabytes a second there are, and several times the write deadline.
            for _ in range(50):
                told += await loop.sock_recv(connection, 16 * 1024)
                await asyncio.sleep(0.1)
            assert await gauge(gateway.url, "jobcast_lagged_total") > 0
            assert await gauge(gateway.url, "jobcast_slow_closed_total") == 0
            while b'"skipped"' not in told:
                told += await asyncio.wait_for(loop.sock_recv(connection, 1 << 16), 5)
                assert len(told) < 4 << 20
        assert all(each.whole for each in watching.watchers)
    gateway.check_log()
