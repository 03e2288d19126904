"""``jobcast gateway`` and ``jobcast worker``: the two services, each by itself."""

import sys

import click

from jobcast.cli import options


@click.command()
@options.with_host
@options.with_port
@options.with_redis
def gateway(host: str | None, port: int | None, redis_url: str | None) -> None:
    """Serve jobs to browsers and programs: Socket.IO, WebSocket, SSE, HTTP and the dashboard.

    Runs until Ctrl-C or SIGTERM, then lets its clients go. Any number of gateways may share one Redis.

    \b
    Example:
      jobcast gateway --port 8081 --redis redis://10.0.0.5:6379/0
    """
    chosen = options.chosen_settings(host=host, port=port, redis_url=redis_url)
    from jobcast.gateway.app import serve  # noqa: PLC0415  it takes a while
    from jobcast.shared import logs  # noqa: PLC0415

    logs.configure(chosen.log_level, chosen.log_format, stacks=chosen.log_stacks)

    serve(chosen)


@click.command()
@options.with_redis
@options.with_module
@options.with_no_shipped
@options.with_processes
def worker(redis_url: str | None, modules: tuple[str, ...], *, no_shipped: bool, processes: int) -> None:
    """Run the jobs of the queues whose handlers it knows: the shipped ones and those of your modules.

    Runs until Ctrl-C or SIGTERM, then takes no more jobs and gives the running ones JOBCAST_DRAIN seconds.

    \b
    Example, with jobs of your own in ./yourjobs.py:
      jobcast worker --module yourjobs --no-shipped
    """
    chosen = options.chosen_settings(redis_url=redis_url)
    if processes > 1:
        from jobcast.cli import fleet  # noqa: PLC0415

        sys.exit(fleet.run(processes, fleet.arguments(redis_url, modules, no_shipped=no_shipped), chosen.drain))
    from jobcast.shared import logs  # noqa: PLC0415
    from jobcast.worker.app import run  # noqa: PLC0415  it takes a while

    logs.configure(chosen.log_level, chosen.log_format, stacks=chosen.log_stacks)
    run(chosen, modules, builtin=not no_shipped)
