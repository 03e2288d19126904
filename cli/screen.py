"""Where a tail shows what it takes: lines in a pipe, JSON for machines, live bars on a terminal."""

import sys
import time
from types import TracebackType
from typing import Protocol, Self

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from jobcast.cli import wording
from jobcast.cli.follow import Payload, outcome_of_event
from jobcast.cli.wire import JOB_SNAPSHOT, Message
from jobcast.shared import states
from jobcast.shared.circuit_words import QUEUE_CIRCUIT

FRAME = 0.1
"""Seconds between two drawings at most: a job that reports a thousand times a second costs no more than ten."""
_STATES = {
    states.JOB_QUEUED: "waiting",
    states.JOB_STARTED: "active",
    states.JOB_PROGRESS: "active",
    states.JOB_STALLED: "stalled",
    states.JOB_COMPLETED: "completed",
    states.JOB_FAILED: "failed",
    states.JOB_CANCELLED: "cancelled",
}
_COLOURS = {"completed": "green", "failed": "red", "cancelled": "yellow", "stalled": "yellow", "active": "cyan"}


class Screen(Protocol):
    """Shows messages. Entered while it owns the terminal."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, message: Message) -> None:
        """Show one message."""
        ...

    def note(self, text: str) -> None:
        """Tell the person, not the program that reads our output."""
        ...

    def draw(self) -> None:
        """Called every ``FRAME`` seconds."""
        ...


class Lines:
    """A line for each event, on its way to the reader at once."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show(self, message: Message) -> None:
        click.echo(wording.line(message.event, message.payload))

    def note(self, text: str) -> None:
        click.echo(f"jobcast: {wording.inert(text)}", err=True)

    def draw(self) -> None:
        pass


class JsonLines(Lines):
    """Each event as it was received, one JSON object a line."""

    def show(self, message: Message) -> None:
        sys.stdout.buffer.write(wording.inert_json(message.as_line()) + b"\n")
        sys.stdout.buffer.flush()


class Row:
    """One job on the terminal."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self.name = ""
        self.state = "unknown"
        self.percent: float | None = None
        self.activity = ""
        self.since = time.monotonic()

    def take(self, event: str, payload: Payload) -> None:
        self.name = wording.inert(payload.get("name") or self.name)
        if event == JOB_SNAPSHOT:
            self.state = wording.inert(payload.get("state"))
        elif event == states.JOB_FAILED and outcome_of_event(event, payload) is None:
            self.state = "waiting"
        else:
            self.state = "waiting-children" if payload.get("children") else _STATES.get(event, self.state)
        if event in {states.JOB_QUEUED, states.JOB_STARTED}:
            self.percent, self.activity, self.since = None, "", time.monotonic()
        if event in {states.JOB_PROGRESS, JOB_SNAPSHOT}:
            self.percent = wording.percent(payload)
            self.activity = wording.activity(payload)
        if self.state == "completed":
            self.percent = 100.0


class Bars:
    """A bar for each live job at the foot of the terminal; log lines and ends scroll by above it."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._rows: dict[str, Row] = {}
        self._said: list[RenderableType] = []
        self._dirty = False
        self._drawn = 0.0

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What is still open stays on the screen: it is the last that was known.
        if self._rows:
            self._said.append(self._render())
        self._rows.clear()
        self._refresh()
        self._live.__exit__(kind, error, trace)

    def show(self, message: Message) -> None:
        if message.event == QUEUE_CIRCUIT:
            said = f"circuit {wording.says(message.event, message.payload)}"
            self._say(wording.inert(message.payload.get("queueName", "?")), said, "yellow")
            return
        job_id = wording.inert(message.payload.get("jobId", "?"))
        row = self._rows.setdefault(job_id, Row(job_id))
        row.take(message.event, message.payload)
        self._dirty = True
        if message.event == states.JOB_LOG:
            self._say(job_id, wording.says(message.event, message.payload), "")
        elif message.event == states.JOB_FAILED and row.state == "waiting":
            self._say(job_id, f"failed {wording.says(message.event, message.payload)}", "yellow")
        elif outcome_of_event(message.event, message.payload):
            del self._rows[job_id]
            said = f"{row.name} {row.state} {wording.says(message.event, message.payload)}".strip()
            self._say(job_id, said, _COLOURS.get(row.state, ""))

    def note(self, text: str) -> None:
        self._said.append(Text(f"jobcast: {wording.inert(text)}", style="yellow"))

    def draw(self) -> None:
        now = time.monotonic()
        if self._dirty or self._said or (self._rows and now - self._drawn >= 1):
            self._refresh()
            self._dirty, self._drawn = False, now

    def _refresh(self) -> None:
        """The bars first: printing above them draws them again as they last were, the ended ones too."""
        self._live.update(self._render(), refresh=True)
        if self._said:
            self._console.print(Group(*self._said))
            self._said.clear()

    def _say(self, job_id: str, text: str, style: str) -> None:
        self._said.append(Text.assemble((f"{job_id} ", "bold"), (text, style)))

    def _render(self) -> RenderableType:
        """As many jobs as fit; a live display taller than the terminal leaves its remains behind."""
        room = max(1, self._console.height - 3)
        rows = list(self._rows.values())
        shown: list[RenderableType] = [self._table(rows[:room])]
        if len(rows) > room:
            shown.append(Text(f"and {len(rows) - room} more", style="dim"))
        return Group(*shown)

    def _table(self, rows: list[Row]) -> Table:
        width = self._console.width
        table = Table.grid(padding=(0, 1, 0, 0))
        for column in range(4 if width >= 60 else 3):
            table.add_column(
                no_wrap=True, overflow="ellipsis", max_width=max(6, width // 3), min_width=4 * (column > 0)
            )
        for row in rows:
            state = Text(row.state, style=_COLOURS.get(row.state, "dim"))
            done = f"{row.percent:5.1f}%" if row.percent is not None else "     -"
            elapsed = wording.span(int((time.monotonic() - row.since) * 1000))
            cells: list[RenderableType] = [Text(f"{row.name} {row.job_id}".lstrip(), style="bold")]
            if width >= 60:
                cells.append(ProgressBar(100, row.percent or 0, width=min(40, width // 4)))
            cells += [Text(done), Text.assemble(state, f" {elapsed} {row.activity}")]
            table.add_row(*cells)
        return table


def choose(*, as_json: bool) -> Screen:
    """Bars where somebody looks at them; lines for pipes and for terminals that cannot move their cursor."""
    if as_json:
        return JsonLines()
    if sys.stdout.isatty():
        console = Console(highlight=False)
        if not console.is_dumb_terminal:
            return Bars(console)
    return Lines()
