"""``jobcast queue``: see and operate queues, through a gateway."""

from typing import Any

import click
import msgspec

from jobcast.cli import options
from jobcast.cli.asking import ask
from jobcast.cli.tables import moment, print_fields, print_json, print_table
from jobcast.cli.wording import span

LISTED = ("waiting", "active", "delayed", "prioritized", "waiting-children", "completed", "failed")
STATES = ("waiting", "active", "delayed", "completed", "failed")
with_queue = click.argument("queue_name", type=options.QUEUE, metavar="QUEUE")
with_as_json = click.option("--json", "as_json", is_flag=True, help="The answer as JSON, for programs.")


@click.group()
def queue() -> None:
    """See queues, and pause, resume, drain, clean them or retry what failed in them.

    \b
    Examples:
      jobcast queue list
      jobcast queue retry-failed emails
    """


@queue.command("list")
@with_as_json
@options.with_url
def list_queues(*, as_json: bool, url: str | None) -> None:
    """Every queue: its jobs by state, and whether it is healthy."""
    found = ask(options.gateway_url(url), "GET", "/api/v1/queues")
    if as_json:
        print_json(found)
        return
    rows = [
        [each["name"], *(each["counts"].get(state, 0) for state in STATES), _standing(each), len(each["stuck"])]
        for each in found["queues"]
    ]
    print_table(["QUEUE", *(state.upper() for state in STATES), "HEALTH", "STUCK"], rows)


@queue.command()
@with_queue
@with_as_json
@options.with_url
def show(queue_name: str, *, as_json: bool, url: str | None) -> None:
    """One queue: its jobs by state, its health, and the jobs that are stuck."""
    found = ask(options.gateway_url(url), "GET", f"/api/v1/queues/{queue_name}")
    if as_json:
        print_json(found)
        return
    print_fields([("queue", found["name"]), ("health", _standing(found)), *found["counts"].items()])
    for reason in found["reasons"]:
        click.echo(f"! {reason}")
    if found["stuck"]:
        click.echo()
        rows = [[job["id"], job["name"], span(job["activeFor"]), span(job["allowed"])] for job in found["stuck"]]
        print_table(["STUCK JOB", "NAME", "ACTIVE FOR", "ALLOWED"], rows)


@queue.command()
@with_queue
@click.option("--state", type=click.Choice(LISTED), default="failed", show_default=True, help="BullMQ's word for it.")
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True)
@with_as_json
@options.with_url
def jobs(queue_name: str, state: str, limit: int, *, as_json: bool, url: str | None) -> None:
    """The jobs of QUEUE in a state: finished ones last first, others next first."""
    query = {"state": state, "limit": limit}
    found = ask(options.gateway_url(url), "GET", f"/api/v1/queues/{queue_name}/jobs", query=query)
    if as_json:
        print_json(found)
        return
    rows = [
        [
            *(each[key] for key in ("id", "name", "state", "attemptsMade")),
            _since(each),
            _first_line(each["failedReason"]),
        ]
        for each in found["jobs"]
    ]
    print_table(["JOB", "NAME", "STATE", "ATTEMPTS", "SINCE", "ERROR"], rows)


@queue.command()
@with_queue
@with_as_json
@options.with_url
def pause(queue_name: str, *, as_json: bool, url: str | None) -> None:
    """Have workers take no further job of QUEUE; those in hand go on."""
    _say(_post(url, queue_name, "pause"), f"{queue_name} is paused", as_json=as_json)


@queue.command()
@with_queue
@with_as_json
@options.with_url
def resume(queue_name: str, *, as_json: bool, url: str | None) -> None:
    """Have workers take jobs of QUEUE again."""
    _say(_post(url, queue_name, "resume"), f"{queue_name} goes on", as_json=as_json)


@queue.command()
@with_queue
@click.option("--delayed", is_flag=True, help="Those too that wait for their time.")
@with_as_json
@options.with_url
def drain(queue_name: str, *, delayed: bool, as_json: bool, url: str | None) -> None:
    """Cancel every job that waits in QUEUE; what runs goes on."""
    done = _all(url, queue_name, "drain", {"delayed": delayed})
    _say(done, f"{_jobs(done)} of {queue_name} cancelled", as_json=as_json)


@queue.command()
@with_queue
@click.option("--state", type=click.Choice(["completed", "failed"]), required=True, help="How the jobs ended.")
@click.option(
    "--older-than", type=click.FloatRange(min=0), metavar="HOURS", help="[completed: 24, failed: 168, a week]"
)
@with_as_json
@options.with_url
def clean(queue_name: str, state: str, older_than: float | None, *, as_json: bool, url: str | None) -> None:
    """Forget jobs of QUEUE that ended long ago."""
    age = {} if older_than is None else {"olderThan": older_than * 3600}
    done = _all(url, queue_name, "clean", {"state": state, **age})
    _say(done, f"{_jobs(done)} of {queue_name} forgotten", as_json=as_json)


@queue.command("retry-failed")
@with_queue
@with_as_json
@options.with_url
def retry_failed(queue_name: str, *, as_json: bool, url: str | None) -> None:
    """Queue every failed job of QUEUE once more; those cancelled stay as they are."""
    done = _all(url, queue_name, "retry-failed", {})
    _say(done, f"{_jobs(done)} of {queue_name} tried again", as_json=as_json)


def _post(url: str | None, queue_name: str, what: str, body: Any = msgspec.UNSET) -> dict[str, Any]:
    return ask(options.gateway_url(url), "POST", f"/api/v1/queues/{queue_name}/{what}", body=body)


def _all(url: str | None, queue_name: str, what: str, body: dict[str, Any]) -> dict[str, Any]:
    """The call made until what there was at first is done, or nothing more is, a thousand jobs at a time."""
    jobs = skipped = 0
    most: int | None = None
    while True:
        done = _post(url, queue_name, what, body)
        jobs, skipped = jobs + done["jobs"], skipped + done["skipped"]
        # Else a producer as quick as we are would keep us here.
        most = jobs + skipped + done["left"] if most is None else most
        if not done["left"] or not (done["jobs"] or done["skipped"]) or jobs + skipped >= most:
            return {**done, "jobs": jobs, "skipped": skipped}
        body = {**body, **{name: done[name] for name in ("before", "skip") if done.get(name) is not None}}


def _say(found: dict[str, Any], sentence: str, *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    skipped, left = found.get("skipped"), found.get("left")
    more = [f"{skipped} left as they are"] if skipped else []
    more += [f"{left} more to do"] if left else []
    click.echo("; ".join([sentence, *more]))


def _jobs(done: dict[str, Any]) -> str:
    return f"{done['jobs']} job{'' if done['jobs'] == 1 else 's'}"


def _standing(found: dict[str, Any]) -> str:
    return f"{found['health']}{', paused' if found['paused'] else ''}"


_SHOWN = ("id", "name", "state", "attemptsMade")


def _first_line(text: str | None) -> str | None:
    line = (text or "").partition("\n")[0]
    return line if len(line) <= 80 else f"{line[:77]}..."


def _since(job: dict[str, Any]) -> str | None:
    return moment(job["finishedOn"] or job["processedOn"] or job["timestamp"])
