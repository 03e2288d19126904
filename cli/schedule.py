"""``jobcast schedule``: jobs made by interval or by cron."""

from typing import Any
from urllib.parse import quote

import click
import msgspec

from jobcast.cli import exits, options
from jobcast.cli.asking import ask
from jobcast.cli.submit import TIMEOUT, read_data
from jobcast.cli.tables import print_json
from jobcast.cli.wording import inert


@click.group()
def schedule() -> None:
    """Have jobs made by interval or by cron: add, list, remove."""


@schedule.command()
@click.argument("queue", type=options.QUEUE)
@click.argument("schedule_id", metavar="ID")
@click.argument("name")
@click.option("--every", type=click.IntRange(min=1), metavar="MS", help="A job every so many milliseconds.")
@click.option("--cron", "pattern", metavar="TEXT", help="Five fields of cron, or six with the seconds first.")
@click.option("--tz", metavar="ZONE", help="The zone of --cron, such as Europe/Berlin; UTC unless given.")
@click.option("--start", "start_date", metavar="TIME", help="No job before: ISO 8601 with its zone.")
@click.option("--end", "end_date", metavar="TIME", help="No job after: ISO 8601 with its zone.")
@click.option("--limit", type=click.IntRange(min=1), help="So many jobs in all.")
@click.option("--immediately", is_flag=True, help="With --cron: the first at once.")
@click.option("--data", default="{}", metavar="JSON|@FILE|@-", help="What each job is to work on.")
@click.option("--priority", type=click.IntRange(min=0), help="1 is first; 0, the default, is before them all.")
@click.option("--attempts", type=click.IntRange(min=1), help="How often to try each job, the first time counted.")
@options.with_url
def add(*, queue: str, schedule_id: str, name: str, data: str, url: str | None, **said: Any) -> int:
    """Have jobs NAME made in QUEUE, by the schedule ID.

    An ID that is there already is replaced; the same terms again change nothing.

    \b
    Examples:
      jobcast schedule add prices update-all update-all --every 300000
      jobcast schedule add maintenance clean-up cleanup --cron '0 0 * * *' --tz Europe/Berlin
    """
    repeat = {
        "every": said["every"],
        "pattern": said["pattern"],
        "tz": said["tz"],
        "startDate": said["start_date"],
        "endDate": said["end_date"],
        "limit": said["limit"],
        "immediately": said["immediately"] or None,
    }
    opts = {"priority": said["priority"], "attempts": said["attempts"]}
    body = {"repeat": _given(repeat), "name": name, "data": read_data(data), "opts": _given(opts)}
    click.echo(_line(_ask(url, "PUT", queue, schedule_id, body)))
    return exits.COMPLETED


@schedule.command(name="list")
@click.argument("queue", type=options.QUEUE)
@options.with_as_json
@options.with_url
def listed(*, queue: str, as_json: bool, url: str | None) -> int:
    """Print the schedules of QUEUE, the one to run next first."""
    for each in _ask(url, "GET", queue)["schedules"]:
        if as_json:
            print_json(each)
        else:
            click.echo(_line(each))
    return exits.COMPLETED


@schedule.command()
@click.argument("queue", type=options.QUEUE)
@click.argument("schedule_id", metavar="ID")
@options.with_url
def remove(*, queue: str, schedule_id: str, url: str | None) -> int:
    """End the schedule ID of QUEUE and cancel its waiting job; one that runs is left to run."""
    _ask(url, "DELETE", queue, schedule_id)
    click.echo(f"{schedule_id} removed")
    return exits.COMPLETED


def _given(words: dict[str, Any]) -> dict[str, Any]:
    return {word: value for word, value in words.items() if value is not None}


def _line(each: dict[str, Any]) -> str:
    """One schedule on one line."""
    repeat = each["repeat"]
    when = f"every {repeat['every']} ms" if "every" in repeat else f"{repeat.get('pattern')} {repeat.get('tz', '')}"
    after = "over" if each["over"] else f"next {each['next']}"
    line = f"{each['id']}  {each['name']}  {when.strip()}  {after}  ran {each['ran']}"
    return inert(line)


def _ask(url: str | None, method: str, queue: str, schedule_id: str = "", body: Any = msgspec.UNSET) -> dict[str, Any]:
    """What the gateway answers. The calls change nothing when made twice, so a lost answer may be asked for again.

    Raises:
        Unreachable: no gateway did.
        Rejected: it said no.
    """
    path = f"/api/v1/queues/{queue}/schedules" + (f"/{quote(schedule_id, safe='')}" if schedule_id else "")
    return ask(options.gateway_url(url), method, path, body=body, timeout=TIMEOUT)
