"""Programs in tests/clients, run by Node: the clients that people really use."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.parts import CLIENTS
from tests.support.processes import ChildProcess, clean_environment


@dataclass(frozen=True)
class NodeRun:
    """How a script ended and what it said."""

    exit_code: int
    stdout: str
    stderr: str


def start_script(node: Path, script: str, *args: str, env: Mapping[str, str] | None = None) -> ChildProcess:
    """Start ``tests/clients/<script>`` there, so that its imports find the installed clients."""
    environment = {**clean_environment(), **(env or {})}
    return ChildProcess([str(node), str(CLIENTS / script), *args], env=environment, cwd=CLIENTS)


async def run_script(node: Path, script: str, *args: str, timeout: float = 30.0) -> NodeRun:
    """Run it to its end while the test's own event loop goes on."""
    with start_script(node, script, *args) as child:
        code = await child.exited(timeout)
        return NodeRun(code, child.stdout, child.stderr)
