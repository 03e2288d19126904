"""How the trading program records what it did: a job for each record, added when its own work is done."""

import logging
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from examples.trading_records.records import HistoricalSwap, Transaction
from jobcast import JobcastError, Producer

QUEUE: Final = "database-writes"
MORE_ATTEMPTS: Final = {"attempts": 5, "backoff": {"type": "exponential", "delay": 1000}}
"""For what may not be missing: half a minute in all, where the queue's own three attempts take two seconds."""
_NAMES: Final = {Transaction: "write-transaction", HistoricalSwap: "write-historical-swap"}
_log = logging.getLogger("recorder")


class Recorder:
    """Adds the jobs; ``jobs`` is the caller's to close, after whatever may still record something."""

    def __init__(self, jobs: Producer) -> None:
        self._jobs = jobs

    async def record(self, record: Transaction | HistoricalSwap, opts: Mapping[str, Any] | None = None) -> str | None:
        """The id of the job; None where none could be added. A trade is not undone because nobody wrote it down.

        What was not added is logged whole: the log is then the only place where it stands.
        """
        data = msgspec.to_builtins(record)
        try:
            return (await self._jobs.submit(QUEUE, _NAMES[type(record)], data, opts)).job_id
        except JobcastError as error:
            _log.error("not recorded: %s; %s", error, msgspec.json.encode(data).decode())
            return None
