"""``jobcast dead-letters``: jobs that failed for good, looked at, run again, thrown away."""

from typing import Any
from urllib.parse import quote

import click

from jobcast.cli import exits, options
from jobcast.cli.asking import ask
from jobcast.cli.tables import print_json
from jobcast.cli.wording import inert

_with_queue = click.option(
    "--queue", type=options.QUEUE, default="dead-letter", show_default=True, help="The queue the letters are in."
)
_with_limit = click.option(
    "--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="The newest so many."
)
_ids = click.argument("letters", nargs=-1, type=options.JOB_ID, metavar="[ID]...")


@click.group("dead-letters")
def dead_letters() -> None:
    """See to jobs that failed for good.

    \b
    Examples:
      jobcast dead-letters list
      jobcast dead-letters replay dl_0d599f0ec05c3bda8c3b8a68c32a1b47
      jobcast dead-letters replay --all
    """


@dead_letters.command("list")
@_with_queue
@_with_limit
@options.with_as_json
@options.with_url
def list_(*, queue: str, limit: int, as_json: bool, url: str | None) -> None:
    """One line for each: its id, its state, what failed, and why. The newest first."""
    found = _call(url, "GET", "", {"queue": queue, "limit": limit})
    for each in found["letters"]:
        if as_json:
            print_json(each)
        else:
            click.echo(_line(each))


@dead_letters.command()
@_ids
@click.option("--all", "everything", is_flag=True, help="All that nobody has seen to, up to --limit.")
@_with_queue
@_with_limit
@options.with_url
def replay(*, letters: tuple[str, ...], everything: bool, queue: str, limit: int, url: str | None) -> int:
    """Run the jobs again, each in its own queue and under its own id; the letters are then removed."""
    if bool(letters) == everything:
        raise click.UsageError("expected either ids of letters or --all")
    if everything:
        done = _call(url, "POST", "/replay", {"queue": queue, "limit": limit})
        for each in done["replayed"]:
            _say_replayed(each)
        for letter, why in done["refused"].items():
            click.echo(f"jobcast: letter {letter}: {why}", err=True)
        return exits.FAILED if done["refused"] else exits.COMPLETED
    for letter in letters:
        _say_replayed(_call(url, "POST", f"/{quote(letter, safe='')}/replay", {"queue": queue}))
    return exits.COMPLETED


@dead_letters.command()
@click.argument("letters", nargs=-1, required=True, type=options.JOB_ID, metavar="ID...")
@_with_queue
@options.with_url
def remove(*, letters: tuple[str, ...], queue: str, url: str | None) -> None:
    """Throw letters away; the jobs they are of stay as they are."""
    for letter in letters:
        _call(url, "DELETE", f"/{quote(letter, safe='')}", {"queue": queue})
        click.echo(f"{letter} removed")


def _call(given: str | None, method: str, path: str, query: dict[str, Any]) -> dict[str, Any]:
    return ask(options.gateway_url(given), method, f"/api/v1/dead-letters{path}", query=query)


def _say_replayed(done: dict[str, Any]) -> None:
    click.echo(f"job {done['jobId']} of queue {done['queue']}: {done['state']}")


def _line(each: dict[str, Any]) -> str:
    text = f"{each['id']}  {each['state']}  {each['queue']}/{each['name']} {each['jobId']}: {each['error']}"
    return inert(text)[:400]
