"""A queue in parts by ranges of keys: every producer finds the same part, and the parts are worked apart."""

import json
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobcast import Context, Partitions, QueueDefinition
from jobcast.shared.errors import BadQueueName, BadRequest, BadSettings
from jobcast.shared.partitions import SLOTS, slot
from tests.conftest import RunNode, StartRedis
from tests.support.waiting import free_port
from tests.worker.conftest import Bench

KEYS = ["", "a", "wallet-7", "{user1000}.following", "foo{}{bar}", "foo{{bar}}zap", "}x{y", "Zürich", "钱包" * 40]


def test_the_slots_are_those_of_redis_cluster(start_redis: StartRedis) -> None:
    with start_redis(config={"cluster-enabled": "yes", "cluster-port": str(free_port())}).client() as client:
        assert [client.execute_command("CLUSTER", "KEYSLOT", key) for key in KEYS] == [slot(key) for key in KEYS]


async def test_node_s_clients_reckon_the_same(run_node: RunNode) -> None:
    keys = [key for key in KEYS if "{}" not in key]  # of these it keeps the braces' rule in its own way
    run = await run_node("slots.js", *keys)
    assert run.exit_code == 0, run.stderr
    assert json.loads(run.stdout) == [slot(key) for key in keys]


@given(st.text(), st.integers(1, 256))
def test_every_key_is_in_one_part_of_those_there_are(key: str, count: int) -> None:
    parts = Partitions("wallets", count)
    assert parts.queue(key) in parts.queues
    assert parts.queues.index(parts.queue(key)) == slot(key) * count // SLOTS


def test_the_ranges_are_even() -> None:
    parts = Partitions("wallets", 8)
    found: dict[str, int] = defaultdict(int)
    for number in range(8000):
        found[parts.queue(f"wallet-{number}")] += 1
    assert len(found) == 8
    assert all(800 < count < 1200 for count in found.values())


async def test_system_4_queues_partitioned_by_key_range_work_a_key_in_order_and_the_parts_side_by_side(
    bench: Bench,
) -> None:
    parts = Partitions("wallets", 4)
    done: dict[str, list[int]] = defaultdict(list)
    busy: set[str] = set()
    together = 0

    async def go(ctx: Context) -> None:
        nonlocal together
        assert ctx.queue not in busy
        busy.add(ctx.queue)
        together = max(together, len(busy))
        await ctx.log("begins")
        done[ctx.data["wallet"]].append(ctx.data["n"])
        busy.remove(ctx.queue)

    for part in parts.queues:
        bench.registry.declare(QueueDefinition(part, concurrency=1))
        bench.registry.add(part, "go", go)
    jobs: list[Any] = [{"wallet": f"w{wallet}", "n": n} for n in range(5) for wallet in range(12)]
    ids = [await bench.submit(data, parts.queue(data["wallet"])) for data in jobs]
    async with bench.worker():
        for job_id in ids:
            assert (await bench.ended(job_id))[-1].kind == "job-completed"
    assert done == {f"w{wallet}": list(range(5)) for wallet in range(12)}
    assert together > 1


@pytest.mark.parametrize("count", [0, -1, 257])
def test_a_count_that_is_none_is_refused(count: int) -> None:
    with pytest.raises(BadSettings, match="from 1 to 256 parts of queue wallets"):
        Partitions("wallets", count)


def test_a_name_too_long_for_its_parts_and_a_key_that_is_no_text_are_refused() -> None:
    with pytest.raises(BadQueueName):
        Partitions("w" * 63, 10)
    with pytest.raises(BadRequest, match="as text, got 7"):
        Partitions("wallets", 2).queue(7)  # type: ignore[arg-type]
