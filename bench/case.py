"""One line of the table, and how the time of a process is read."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """``ours`` and ``peer`` in ``unit``; less is better."""

    case: str
    unit: str
    ours: float
    peer: float
    against: str

    @property
    def ratio(self) -> float:
        return self.ours / self.peer

    def to_dict(self) -> dict[str, object]:
        return {**asdict(self), "ratio": round(self.ratio, 3)}


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, as the kernel counts it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
