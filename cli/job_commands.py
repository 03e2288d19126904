"""``jobcast job``: see one job, and retry, promote, cancel or remove it, through a gateway."""

from typing import Any

import click
import msgspec

from jobcast.cli import options
from jobcast.cli.asking import ask
from jobcast.cli.tables import moment, print_block, print_fields, print_json, print_table
from jobcast.cli.wording import children, says, value
from jobcast.shared.states import JOB_LOG

with_id = click.argument("job_id", type=options.JOB_ID, metavar="ID")
with_queue = click.option("--queue", type=options.QUEUE, help="Its queue, if no worker or gateway has seen it yet.")
with_as_json = click.option("--json", "as_json", is_flag=True, help="The answer as JSON, for programs.")


@click.group()
def job() -> None:
    """See a job whole; retry, promote, cancel or remove it.

    \b
    Examples:
      jobcast job show 42
      jobcast job retry 42
    """


@job.command()
@with_id
@with_queue
@with_as_json
@options.with_url
def show(job_id: str, queue: str | None, *, as_json: bool, url: str | None) -> None:
    """All that is known of a job: state, attempts, data, what it said, why it failed and where."""
    found = _get(url, job_id, "details", queue)
    if as_json:
        print_json(found)
        return
    tried = f"{found['attemptsMade']} of {found['maxAttempts']}" if found["maxAttempts"] else None
    print_fields(
        [
            *((name, found[name]) for name in ("id", "name", "queue", "state")),
            ("kept", None if found["kept"] else "no: only its history is left"),
            ("attempts", tried if found["kept"] else found["attemptsStarted"]),
            ("progress", _progress(found)),
            ("priority", found["priority"] or None),
            ("delay", f"{found['delay']} ms" if found["delay"] else None),
            ("parent", found["parentId"]),
            ("children", children(found["children"]) or None),
            ("worker", found["worker"]),
            *((name, moment(found[key])) for name, key in _TIMES),
            ("data", found["data"]),
            ("result", found["returnValue"]),
            ("error", found["failedReason"]),
        ]
    )
    if found["stacktrace"]:
        print_block("stack", str(found["stacktrace"][-1]))
    # Our workers' lines are events, those of BullMQ's own are in its list.
    lines = [says(name, payload) for name, payload in found["events"] if name == JOB_LOG]
    if lines := [*lines, *map(str, found["logs"])]:
        print_block("log", "\n".join(lines))


def _progress(found: dict[str, Any]) -> Any:
    """As a tail tells it: a job that is completed is through, whatever it said last."""
    if found["state"] == "completed":
        return "100%"
    told = found["progress"] or None
    return f"{told:.4g}%" if isinstance(told, int | float) else told


_TIMES = (("queued", "timestamp"), ("started", "processedOn"), ("ended", "finishedOn"))


@job.command()
@with_id
@with_as_json
@options.with_url
def history(job_id: str, *, as_json: bool, url: str | None) -> None:
    """The events that are still kept, oldest first; with --json one a line."""
    found = _get(url, job_id, "history", None)
    if as_json:
        for name, payload in found["events"]:
            print_json({"event": name, **payload})
        return
    print_table(["SEQ", "TIME", "ATTEMPT", "EVENT", ""], [_row(name, payload) for name, payload in found["events"]])


@job.command()
@with_id
@with_as_json
@options.with_url
def retry(job_id: str, *, as_json: bool, url: str | None) -> None:
    """Queue a job that is over once more, as a new attempt."""
    _say(_post(url, job_id, "retry", None), f"{job_id} is tried again", as_json=as_json)


@job.command()
@with_id
@with_queue
@with_as_json
@options.with_url
def promote(job_id: str, queue: str | None, *, as_json: bool, url: str | None) -> None:
    """Have a delayed job wait no longer for its time."""
    _say(_post(url, job_id, "promote", queue), f"{job_id} waits to be taken", as_json=as_json)


@job.command()
@with_id
@click.option("--reason", help="Told to whoever watches it.")
@with_as_json
@options.with_url
def cancel(job_id: str, reason: str | None, *, as_json: bool, url: str | None) -> None:
    """Stop a job: one that waits is taken from its queue, one at work is asked to stop."""
    done = ask(options.gateway_url(url), "DELETE", f"/api/v1/jobs/{job_id}", query={"reason": reason})
    _say(done, f"{job_id} is {done['state']}", as_json=as_json)


@job.command()
@with_id
@with_queue
@with_as_json
@options.with_url
def remove(job_id: str, queue: str | None, *, as_json: bool, url: str | None) -> None:
    """Take a job and its children out of the queue; one that waits is told as cancelled, one at work is refused."""
    done = _post(url, job_id, "remove", queue)
    children = len(done["removed"]) - 1
    _say(done, f"{job_id} removed{f' with {children} children' if children else ''}", as_json=as_json)


def _get(url: str | None, job_id: str, what: str, queue: str | None) -> dict[str, Any]:
    return ask(options.gateway_url(url), "GET", f"/api/v1/jobs/{job_id}/{what}", query={"queue": queue})


def _post(url: str | None, job_id: str, what: str, queue: str | None) -> dict[str, Any]:
    return ask(options.gateway_url(url), "POST", f"/api/v1/jobs/{job_id}/{what}", query={"queue": queue})


def _say(found: dict[str, Any], sentence: str, *, as_json: bool) -> None:
    if as_json:
        print_json(found)
    else:
        click.echo(sentence)


def _row(name: str, payload: dict[str, Any]) -> list[Any]:
    said = {key: found for key, found in payload.items() if key not in _COMMON}
    text = " ".join(f"{key}={_short(found)}" for key, found in said.items())
    return [payload.get("seq"), moment(payload.get("timestamp")), payload.get("attempt"), name, text or " "]


_COMMON = frozenset({"seq", "epoch", "jobId", "queue", "attempt", "timestamp"})


def _short(found: Any) -> str:
    text = value(found) if isinstance(found, str) else msgspec.json.encode(found).decode()
    return text if len(text) <= 80 else f"{text[:77]}..."
