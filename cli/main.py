"""The ``jobcast`` command: what can be typed, and how errors leave it. What is done stands in its neighbours.

The heavy parts are imported by the commands that need them: ``submit`` and ``tail`` are typed often.
"""

import asyncio
import os
import shlex
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

import jobcast
from jobcast.cli import exits, flow_command, options
from jobcast.cli.dead_letters import dead_letters
from jobcast.cli.job_commands import job
from jobcast.cli.queue_commands import queue
from jobcast.cli.schedule import schedule
from jobcast.cli.service import gateway, worker
from jobcast.shared.errors import JobcastError
from jobcast.shared.names import check_job_name, check_new_job_id
from jobcast.shared.options import check_priority
from jobcast.shared.position import Position
from jobcast.shared.settings import Settings


class _ReaderGone(Exception):
    """Our output has no reader any more. No OSError: click would make exit code 1 of it, which says a job failed."""


class _Commands(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _ReaderGone from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(jobcast.__version__, message="jobcast %(version)s")
def cli() -> None:
    """Live job progress for any back end.

    \b
    Start everything, then watch a job run:
      jobcast up
      jobcast submit demo simulate --data '{"steps": 20, "duration": 10}' --follow

    \b
    Exit codes: 0 completed, 1 failed, 2 usage, 3 cancelled, 4 unreachable.
    Every setting is also an environment variable, JOBCAST_<NAME>.
    """


@cli.command()
@options.with_host
@options.with_port
@options.with_redis
@options.with_module
@options.with_no_shipped
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Where its Redis keeps the jobs.")
def up(  # noqa: PLR0913  one for each option
    *,
    host: str | None,
    port: int | None,
    redis_url: str | None,
    modules: tuple[str, ...],
    no_shipped: bool,
    data: Path | None,
) -> int:
    """Start everything: a Redis of its own, the gateway with its dashboard, and a worker.

    Ctrl-C (or SIGTERM) stops all of it in order; a second one at once. With --redis or JOBCAST_REDIS_URL that
    Redis is used and none is started. Jobs are kept between runs, by default in ~/.local/state/jobcast. The line
    "Redis: ..." says what programs of yours need as JOBCAST_REDIS_URL.

    \b
    Examples:
      jobcast up
      jobcast up --port 9000 --data ./jobs --module yourjobs
    """
    chosen = options.chosen_settings(host=host, port=port, redis_url=redis_url)
    given = chosen.redis_url if redis_url or os.environ.get("JOBCAST_REDIS_URL") else None
    if given and data:
        raise click.UsageError("--data is for a Redis of its own, and one was given")
    if no_shipped and not modules:
        raise click.UsageError("--no-shipped leaves nothing to work for without a --module")
    from jobcast.cli.up import Plan, run  # noqa: PLC0415  it takes a while

    return run(Plan(chosen, given, data, modules, shipped=not no_shipped))


@cli.command()
@click.argument("queue", type=options.QUEUE)
@click.argument("name", type=options.Checked("name", check_job_name))
@click.option("--data", default="{}", metavar="JSON|@FILE|@-", help="What the job is to work on; @- reads stdin.")
@click.option(
    "--id", "job_id", type=options.Checked("id", check_new_job_id), help="An id of your choice: a second is no job."
)
@click.option("--delay", type=click.IntRange(min=0), metavar="MS", help="Start it no sooner than in MS milliseconds.")
@click.option(
    "--priority",
    type=options.Checked("priority", check_priority),
    metavar="NAME|NUMBER",
    help="critical, high, normal, low, maintenance; or a number: 1 is first; 0, the default, is before them all.",
)
@click.option("--attempts", type=click.IntRange(min=1), help="How often to try it, the first time counted.")
@click.option("--follow", is_flag=True, help="Watch it to its end; the exit code says how it ended.")
@options.with_as_json
@options.with_patience
@options.with_url
def submit(  # noqa: PLR0913  one for each option
    *,
    queue: str,
    name: str,
    data: str,
    job_id: str | None,
    delay: int | None,
    priority: int | str | None,
    attempts: int | None,
    follow: bool,
    as_json: bool,
    patience: float,
    url: str | None,
) -> int:
    """Queue the job NAME in QUEUE and print its id.

    With --json and --follow only the events are printed; each carries the id.

    \b
    Examples:
      jobcast submit demo simulate --data '{"steps": 5, "duration": 2}'
      jobcast submit files checksum-tree --data '{"path": "."}' --follow
      generate | jobcast submit mail send --data @- --attempts 3
    """
    from jobcast.cli import submit as submitting  # noqa: PLC0415  it takes a while

    where = options.gateway_url(url)
    opts = {"jobId": job_id, "delay": delay, "priority": priority, "attempts": attempts}
    body = {
        "queue": queue,
        "name": name,
        "data": submitting.read_data(data),
        "opts": {option: value for option, value in opts.items() if value is not None},
    }
    queued = submitting.submit(where, body)
    if not (follow and as_json):
        click.echo(f'{{"jobId":"{queued}"}}' if as_json else queued)
        sys.stdout.flush()
    return _follow(where, [queued], None, None, as_json=as_json, patience=patience) if follow else exits.COMPLETED


@cli.command()
@click.argument("job_ids", nargs=-1, type=options.JOB_ID, metavar="[ID]...")
@click.option("--queue", type=options.QUEUE, help="Watch every job of a queue instead, without end.")
@click.option(
    "--since",
    type=options.Checked("position", Position.parse),
    metavar="EPOCH-SEQ",
    help="Go on after this position: an event's, or with --queue its queuePosition.",
)
@options.with_as_json
@options.with_patience
@options.with_url
def tail(  # noqa: PLR0913  one for each option
    *,
    job_ids: tuple[str, ...],
    queue: str | None,
    since: Position | None,
    as_json: bool,
    patience: float,
    url: str | None,
) -> int:
    """Watch jobs to their end: live bars on a terminal, a line for each event in a pipe.

    Lost connections are taken up again where they broke off. A job not known yet is waited for. Of several jobs
    the exit code tells the worst: failed (1), then cancelled (3), then completed (0).

    \b
    Examples:
      jobcast tail 42
      jobcast tail 42 --since k3v9-7
      jobcast tail --queue demo --json | jq -c '[.event, .jobId]'
    """
    if bool(job_ids) == bool(queue):
        raise click.UsageError("expected either ids of jobs or --queue QUEUE")
    if since and len(set(job_ids)) > 1:
        raise click.UsageError("--since goes with one ID or --queue: each job has positions of its own")
    return _follow(options.gateway_url(url), job_ids, queue, since, as_json=as_json, patience=patience)


def _follow(  # noqa: PLR0913  what both commands say of a tail
    url: str,
    job_ids: Sequence[str],
    queue: str | None,
    since: Position | None,
    *,
    as_json: bool,
    patience: float,
) -> int:
    from jobcast.cli import screen, tail, watch  # noqa: PLC0415  they take a while

    watched: watch.Watch = watch.QueueWatch(queue, since) if queue else watch.JobsWatch(job_ids, since)
    try:
        return asyncio.run(tail.tail(url, watched, screen.choose(as_json=as_json), patience=patience))
    except KeyboardInterrupt:
        goes_on = "" if queue else "; the job goes on" if len(job_ids) == 1 else "; the jobs go on"
        elsewhere = "" if url == Settings().url else f" --url {shlex.quote(url)}"
        click.echo(f"jobcast: stopped watching{goes_on}. To resume: {watched.resume()}{elsewhere}", err=True)
        return exits.INTERRUPTED


for each in (gateway, worker, flow_command.submit_flow, job, queue, schedule, dead_letters):
    cli.add_command(each)


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; every error becomes one sentence and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        # A job may speak letters this terminal's encoding does not have; that must not end a tail.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        code = cli.main(args, prog_name="jobcast", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return exits.INTERRUPTED
    except (_ReaderGone, BrokenPipeError):
        _close_quietly()
        return exits.BROKEN_PIPE
    except JobcastError as error:
        _complain(str(error))
        return exits.exit_code(error)
    except Exception as error:  # noqa: BLE001  the last place before the user
        _complain(f"a mistake in jobcast itself: {type(error).__name__}: {error}")
        if os.environ.get("JOBCAST_LOG_LEVEL") == "debug":
            traceback.print_exc()
        else:
            _complain("JOBCAST_LOG_LEVEL=debug shows where")
        return exits.FAILED
    return code if isinstance(code, int) else exits.COMPLETED


def _complain(text: str) -> None:
    click.echo(f"jobcast: {' '.join(text.split())}", err=True)


def _close_quietly() -> None:
    """The reader went away: what is still to be written has nowhere to go, nor has an error about it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
