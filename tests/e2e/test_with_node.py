"""BullMQ's own world beside ours: a Node producer, and Bull Board looking on."""

import json

from tests.conftest import RunNode
from tests.e2e.conftest import Stack
from tests.e2e.watchers import over_websocket
from tests.support.heard import applied


async def test_a_job_added_by_node_runs_here_and_is_seen_by_bull_board(stack: Stack, run_node: RunNode) -> None:
    data = json.dumps({"steps": 3, "duration": 0.3})
    added = await run_node("enqueue.js", stack.redis_url, "demo", "simulate", data)
    assert added.exit_code == 0, added.stderr
    answer = json.loads(added.stdout)
    assert answer["state"] == "completed"
    assert answer["result"]["steps"] == 3

    final = await stack.finished(answer["jobId"])
    assert final["name"] == "simulate"
    assert final["result"] == answer["result"]
    heard = await over_websocket(stack.url, answer["jobId"], {"epoch": final["epoch"], "seq": 0})
    assert applied(heard) == list(range(1, final["seq"] + 1))
    assert [name for name, _ in heard if name.startswith("job-")][:2] == ["job-queued", "job-queue-to-start"]

    board = await run_node("board.js", stack.redis_url, "demo")
    assert board.exit_code == 0, board.stderr
    shown = json.loads(board.stdout)
    assert shown["counts"]["completed"] == 1
    assert [job["id"] for job in shown["jobs"]] == [answer["jobId"]]


async def test_bull_board_lists_a_job_of_ours(stack: Stack, run_node: RunNode) -> None:
    job_id = await stack.submit("demo", "simulate", {"steps": 2, "duration": 0.1})
    final = await stack.finished(job_id)
    board = await run_node("board.js", stack.redis_url, "demo")
    assert board.exit_code == 0, board.stderr
    [job] = json.loads(board.stdout)["jobs"]
    assert job["id"] == job_id
    assert job["name"] == "simulate"
    assert job["returnValue"] == final["result"]
