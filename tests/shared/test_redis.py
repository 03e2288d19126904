"""How connections are made: by every kind of address, and as the parts on top of them need."""

from jobcast.shared.journal import RedisJournal
from jobcast.shared.queue import JobQueues
from jobcast.shared.redis import connect, connect_for_bullmq, duplicate
from tests.conftest import StartRedis


async def test_a_redis_on_a_unix_socket_serves_all_three_kinds_of_connection(start_redis: StartRedis) -> None:
    url = start_redis(socket="unix").url
    commands, bullmq = connect(url, name="test"), connect_for_bullmq(url, name="test")
    subscriber = duplicate(commands, name="test")
    try:
        submitted = await JobQueues(bullmq, journal := RedisJournal(commands)).submit("demo", "simulate", {})
        assert (await journal.read(submitted.job_id)).position is not None
        await subscriber.connect()  # type: ignore[no-untyped-call]
        await subscriber.send_command("PING")
        assert await subscriber.read_response() == b"PONG"
    finally:
        await subscriber.disconnect(nowait=True)
        await commands.aclose()
        await bullmq.aclose()
