"""What the kernel counts of a process, and what must be told with every figure: the machine and the versions."""

import json
import os
import platform
import re
import resource
import shutil
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

PEERS = Path(__file__).parent / "peers"
PACKAGES = (
    "jobcast",
    "bullmq",
    "hiredis",
    "msgspec",
    "orjson",
    "python-engineio",
    "python-socketio",
    "redis",
    "starlette",
    "uvicorn",
    "uvloop",
    "websockets",
)
NODE_PACKAGES = ("socket.io", "bullmq", "ioredis", "ws")
DESCRIPTORS = 8192
"""Enough for the largest crowd, on either side."""


class Invalid(Exception):
    """The run says nothing: events were lost, a limit was met, or a wait came to its end."""


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads, in the scheduler's nanoseconds: a clock tick is 10 ms, too coarse here."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def memory_bytes(pid: int) -> int:
    """The proportional set size: what would be free again without this process, its share of libraries counted."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
    if found is None:
        raise Invalid(f"the kernel does not tell the memory of process {pid}")
    return int(found[1]) * 1024


def speed() -> float:
    """Milliseconds of CPU for a loop that is always the same: a shared machine is not always as fast as it was."""
    start = time.process_time()
    for _ in range(1_000_000):
        pass
    return (time.process_time() - start) * 1000


def raise_limits() -> None:
    """Let this process and its children open a descriptor for each client."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < DESCRIPTORS:
        raise Invalid(f"the benchmark needs {DESCRIPTORS} open files, the hard limit here is {hard} (ulimit -Hn)")
    if soft < DESCRIPTORS:
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, hard))


def facts() -> dict[str, str]:
    """The machine, as far as it decides the figures."""
    return {
        "cpu": _cpu_model(),
        "cores": str(os.cpu_count()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release().split('-')[0]}",
    }


def versions(redis: str) -> dict[str, str]:
    """Everything that takes part. ``redis`` is the server's own answer."""
    found = {"python": platform.python_version(), "redis-server": redis, "cc": _first_line("cc", "--version")}
    found |= {name: version(name) for name in PACKAGES}
    if shutil.which("node"):
        found["node"] = _first_line("node", "--version").removeprefix("v")
    for name in NODE_PACKAGES:
        package = PEERS / "node_modules" / name / "package.json"
        if package.exists():
            found[f"{name} (npm)"] = str(json.loads(package.read_text())["version"])
    return found


def _cpu_model() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def _first_line(*command: str) -> str:
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    return answer.stdout.partition("\n")[0]
