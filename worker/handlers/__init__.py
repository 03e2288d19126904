"""Jobs that ship with the project, one file each."""

from collections.abc import Sequence
from pathlib import Path

from jobcast.worker.handlers import checksum_tree, import_csv, simulate
from jobcast.worker.handlers.paths import Roots
from jobcast.worker.registry import Registry


def shipped(roots: Sequence[Path]) -> Registry:
    """The shipped handlers; those that read files read only below ``roots``."""
    registry = Registry()
    below = Roots(roots)
    registry.add("files", "checksum-tree", checksum_tree.handler(below))
    registry.add("files", "import-csv", import_csv.handler(below))
    registry.add("demo", "simulate", simulate.simulate)
    return registry
