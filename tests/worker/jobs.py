"""Shipped jobs run to their end, and measured."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from jobcast.shared.events import Event, JobCompleted, JobFailed
from jobcast.worker.handlers import shipped
from tests.worker.conftest import Bench


async def handled(bench: Bench, root: Path, name: str, data: Any, queue: str = "files") -> list[Event]:
    """Run one shipped job to its end."""
    bench.registry = shipped([root])
    job_id = await bench.submit(data, queue, name)
    async with bench.worker():
        return await bench.ended(job_id, 30)


async def result_of(bench: Bench, root: Path, name: str, data: Any, queue: str = "files") -> Any:
    last = (await handled(bench, root, name, data, queue))[-1]
    assert isinstance(last, JobCompleted), last
    return last.result


async def error_of(bench: Bench, root: Path, name: str, data: Any, queue: str = "files") -> str:
    last = (await handled(bench, root, name, data, queue))[-1]
    assert isinstance(last, JobFailed), last
    assert last.final
    return last.error


MEMORY = """
import resource, sys
from pathlib import Path
from jobcast.worker.handlers import shipped
class Context:
    job_id = "j"
    data = {"path": sys.argv[2], "database": sys.argv[3], "table": "t"}
    def log(self, *_): pass
    def progress(self, *_): pass
    def check_cancelled(self): pass
handler = shipped([Path(sys.argv[1])]).find("files", sys.argv[4])
if sys.argv[4] == "checksum-tree": Context.data = {"path": "."}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(handler.function(Context()))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def grown(root: Path, source: str, name: str) -> tuple[dict[str, Any], int]:
    """The result, and by how many KiB a process grew over it."""
    command = [sys.executable, "-c", MEMORY, str(root), source, "out.db", name]
    result, grew = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return eval(result), int(grew)  # what our own child printed
