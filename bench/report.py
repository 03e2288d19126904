"""What comes of a run: the table, bench/results.json, and the figures in docs/performance.md."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.cases import Sizes
from bench.rows import SERVERS, Row, Samples, compare, figures, middle

RESULTS = Path(__file__).parent / "results.json"
PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
BEGIN = "<!-- figures: written by the benchmark, do not edit -->"
END = "<!-- end of figures -->"
STEADY = 1.3
"""How much slower the machine may become before a reader is warned."""


@dataclass(frozen=True)
class Run:
    """Everything that was measured, and everything that must be told with it."""

    command: str
    day: str
    sizes: Sizes
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    samples: Samples
    speeds: Sequence[float]
    invalid: tuple[str, ...]

    @property
    def unsteady(self) -> str:
        """A warning where the machine itself was not as fast all the time; empty where it was."""
        slowest, fastest = max(self.speeds), min(self.speeds)
        if slowest < STEADY * fastest:
            return ""
        return (
            f"The machine was not steady: the same loop took between {fastest:.0f} and {slowest:.0f} ms of CPU before "
            "the measurements. Ratios close to their target may be chance."
        )

    @property
    def rows(self) -> list[Row]:
        return compare(self.samples, self.sizes)


def table(run: Run) -> str:
    """For a terminal."""
    lines = [f"{'case':<50} {'unit':<12} {'jobcast':>9} {'peer':>9} {'ratio':>7} {'target':>7}         against"]
    for row in run.rows:
        target = "" if row.target is None else f"{row.target:.2f}"
        note = f"  ({row.note})" if row.note else ""
        lines.append(
            f"{row.case:<50} {row.unit:<12} {_short(row.ours):>9} {_short(row.peer):>9} {row.ratio:>7.2f} {target:>7} "
            f"{row.verdict:<6}  {row.against}{note}"
        )
    return "\n".join([*lines, run.unsteady])


def write_results(run: Run) -> None:
    """All rows and all repetitions, for whoever wants to look closer."""
    kept = asdict(run) | {"rows": [row.to_dict() for row in run.rows]}
    RESULTS.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def write_page(run: Run) -> None:
    """Put the figures between the two marks of the page; the words around them are a person's."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{_section(run)}\n\n{END}{after}", encoding="utf-8")


def _section(run: Run) -> str:
    machine = f"{run.machine['cores']} cores of {run.machine['cpu']}, {run.machine['memory']}, {run.machine['kernel']}"
    versions = ", ".join(f"{name} {number}" for name, number in run.versions.items())
    return "\n\n".join(
        [
            f"`{run.command}` on {run.day}; {machine}. Medians of {run.sizes.rounds} round(s).",
            f"Versions: {versions}.",
            *([run.unsteady] if run.unsteady else []),
            _ratios(run),
            "The same run, each server's own figures:",
            _absolutes(run),
        ]
    )


def _ratios(run: Run) -> str:
    lines = ["| case | unit | jobcast | peer | ratio | target | against |", "|---|---|--:|--:|--:|--:|---|"]
    for row in run.rows:
        target = "" if row.target is None else f"{row.target:.2f} {row.verdict}"
        against = f"{row.against} ({row.note})" if row.note else row.against
        lines.append(
            f"| {row.case} | {row.unit} | {_short(row.ours)} | {_short(row.peer)} | {row.ratio:.2f} | {target} "
            f"| {against} |"
        )
    return "\n".join(lines)


def _absolutes(run: Run) -> str:
    servers = [server for server in SERVERS if server in run.samples]
    lines = [
        "| | unit | " + " | ".join(SERVERS[server] for server in servers) + " |",
        "|---|---|" + "--:|" * len(servers),
    ]
    for figure in figures(run.sizes):
        found = [middle(run.samples, server, figure.key) for server in servers]
        cells = ["" if value is None else _short(value) for value in found]
        if any(cells):
            lines.append(f"| {figure.title} | {figure.unit} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _short(value: float) -> str:
    """Three digits that mean something."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
