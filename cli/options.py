"""What several commands can be told, each checked where it is typed; and the settings that come of it."""

import os
from collections.abc import Callable
from typing import Any

import click

from jobcast.cli.gateway_url import check_url
from jobcast.shared import settings
from jobcast.shared.errors import BadSettings, JobcastError
from jobcast.shared.names import check_job_id, check_queue_name
from jobcast.shared.settings import Settings


class Checked(click.ParamType[Any]):
    """A parameter checked by the project's own rule, so that its sentence is what the user reads."""

    def __init__(self, name: str, check: Callable[[str], Any]) -> None:
        self.name = name
        self._check = check

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self._check(value) if isinstance(value, str) else value
        except JobcastError as error:
            self.fail(str(error), param, ctx)


def _check_module_name(name: str) -> str:
    if not all(name.split(".")):
        raise BadSettings(f"expected a module's name as Python imports it, got {name!r}")
    return name


QUEUE = Checked("queue", check_queue_name)
JOB_ID = Checked("id", check_job_id)
with_host = click.option("--host", metavar="ADDRESS", help="Address to listen on [JOBCAST_HOST, 127.0.0.1].")
with_port = click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on [JOBCAST_PORT, 8080].")
with_redis = click.option("--redis", "redis_url", metavar="URL", help="Redis to use [JOBCAST_REDIS_URL].")
with_module = click.option(
    "--module",
    "modules",
    type=Checked("module", _check_module_name),
    multiple=True,
    metavar="NAME",
    help="A module of your own jobs; may be given several times.",
)
with_no_shipped = click.option(
    "--no-shipped",
    is_flag=True,
    help="Serve your modules' jobs alone, not the shipped queues files and demo: for production, where whoever can "
    "submit a job should have no file read and no worker kept busy by a demonstration.",
)
with_processes = click.option(
    "--processes",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    metavar="N",
    help="Workers to run, each a process that takes jobs for itself; one that dies is started again.",
)
with_url = click.option("--url", metavar="URL", help="Where the gateway is [JOBCAST_URL, http://127.0.0.1:8080].")
with_patience = click.option(
    "--patience",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Give up after so long without a connection.",
)
with_as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")


def chosen_settings(**given: object) -> Settings:
    """The environment's settings, what was typed put over them."""
    typed = {f"{settings.PREFIX}{name.upper()}": str(value) for name, value in given.items() if value is not None}
    return settings.load({**os.environ, **typed})


def gateway_url(given: str | None) -> str:
    """The address typed, or the environment's."""
    return check_url(chosen_settings(url=given).url)
