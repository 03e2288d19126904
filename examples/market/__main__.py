"""The back end as a program of its own: ``python -m examples.market``, until SIGTERM or SIGINT."""

import asyncio
import contextlib
import logging
import signal
import sqlite3
import sys
from typing import Final

from examples.market.database import Database
from examples.market.registry import registry
from examples.market.services import Services
from jobcast import JobcastError, Worker, configure_logs

LOOK_EVERY: Final = 0.5
"""Seconds between two looks whether the database is there."""
MOST_LOOKS: Final = 120
_log = logging.getLogger("market")


async def main() -> None:
    """Work until a signal; what is in hand is finished. A second signal does not wait for that."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    services = Services.from_environment()
    with services.http, contextlib.suppress(asyncio.CancelledError):
        await until_there(services.database)
        worker = Worker(registry(services))
        try:
            await worker.start()
            _log.info("the market's back end is ready")
            await worker.wait()
        finally:
            await worker.stop()
            _log.info("the market's back end has ended")


async def until_there(database: Database) -> None:
    """Return once the tables are there; end the program if they never are. Without them no job may be taken."""
    for look in range(MOST_LOOKS):
        try:
            return database.create()
        except sqlite3.OperationalError as error:
            if look == 0:
                _log.warning("waiting for the database %s: %s", database.path, error)
        await asyncio.sleep(LOOK_EVERY)
    sys.exit(f"there is no database at {database.path} after {MOST_LOOKS * LOOK_EVERY:.0f} s; nothing was started")


if __name__ == "__main__":
    try:
        configure_logs()
        asyncio.run(main())
    except JobcastError as error:
        sys.exit(f"market: {error}")
