"""What operations answer, as a person reads it: columns, and lines of a name and a value. Made harmless first."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import click
import msgspec

from jobcast.cli.wording import inert, inert_json, value

BLANK: Final = "-"


def print_json(found: Any) -> None:
    """One JSON value on a line."""
    click.echo(inert_json(msgspec.json.encode(found)).decode())


def print_table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Columns as wide as what stands in them; numbers to the right."""
    texts = [[cell(each) for each in row] for row in rows]
    widths = [max(len(text) for text in column) for column in zip(head, *texts, strict=True)]
    click.echo("  ".join(name.ljust(width) for name, width in zip(head, widths, strict=True)).rstrip())
    for row in texts:
        padded = (
            text.rjust(width) if text.isdecimal() else text.ljust(width)
            for text, width in zip(row, widths, strict=True)
        )
        click.echo("  ".join(padded).rstrip())


def print_fields(fields: Iterable[tuple[str, Any]]) -> None:
    """A name and its value on a line each; what there is nothing of is left out."""
    shown = [(name, cell(found)) for name, found in fields if found not in (None, "", [], {})]
    width = max((len(name) for name, _ in shown), default=0)
    for name, text in shown:
        click.echo(f"{name.ljust(width)}  {text}")


def print_block(title: str, text: str) -> None:
    """Text of several lines, set in under its title."""
    click.echo(f"{title}:")
    for line in text.splitlines():
        click.echo(f"  {inert(line)}")


def cell(found: Any) -> str:
    if found is None or found == "":
        return BLANK
    if isinstance(found, bool):
        return "yes" if found else "no"
    return value(found)


def moment(ms: Any) -> str | None:
    """A time of day here, to the second."""
    if not isinstance(ms, int) or not ms:
        return None
    return datetime.fromtimestamp(ms / 1000).astimezone().isoformat(" ", "seconds")
