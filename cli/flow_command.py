"""``jobcast submit-flow``: a job with the jobs it waits for, from one tree of JSON."""

import click
import msgspec

from jobcast.cli import exits, options


@click.command("submit-flow")
@click.argument("tree", metavar="JSON|@FILE|@-")
@click.option("--json", "as_json", is_flag=True, help="Print the tree of all ids, for programs.")
@options.with_url
def submit_flow(tree: str, url: str | None, *, as_json: bool) -> int:
    """Queue a tree of jobs, all of it or nothing, and print the id of the one that waits for the others.

    Each is {"queue", "name", "data"?, "opts"?, "children"?}; a job runs once its children are completed. Watch the
    printed id: its progress is that of all of them.

    \b
    Examples:
      jobcast submit-flow @flow.json
      jobcast tail $(jobcast submit-flow @flow.json)
    """
    from jobcast.cli import submit  # noqa: PLC0415  it takes a while

    told = submit.send(options.gateway_url(url), "/api/v1/flows", submit.read_data(tree, "TREE"))
    click.echo(msgspec.json.encode(told).decode() if as_json else told["jobId"])
    return exits.COMPLETED
