"""What the feed lost without a word: the records that changed are compared with what was heard of them.

A lost connection is noticed, and a number that is missing is seen by the next one. What neither shows is the loss of a
job's last event: a proxy that drops, a replica that lags, a subscription that Redis has forgotten. So twice a second
the index of changes is asked which jobs came to rest a moment ago, and whoever watches one of them and has not been
sent its last event reads the record. A job that goes on changing costs nothing: its next event is the check.
"""

import asyncio
from typing import Final

from jobcast.gateway.feed import Feed
from jobcast.gateway.hub import Hub
from jobcast.gateway.metrics import Metrics
from jobcast.shared import logs
from jobcast.shared.errors import Unavailable
from jobcast.shared.journal.contract import Journal

CHECK_EVERY: Final = 0.5
SETTLED: Final = 1000
"""Milliseconds an event may be under way before it counts as lost."""
BATCH: Final = 500
"""Records in one call: Redis does nothing else meanwhile, about a millisecond."""
log = logs.get("positions")


class PositionCheck:
    """:meth:`run` is a task. What changes while the feed is away is compared when it is back."""

    def __init__(self, journal: Journal, hub: Hub, feed: Feed, metrics: Metrics) -> None:
        self._journal = journal
        self._hub = hub
        self._feed = feed
        self._metrics = metrics
        self._since: int | None = None

    async def run(self) -> None:
        while True:
            await asyncio.sleep(CHECK_EVERY)
            if self._feed.status == "alive":
                try:
                    await self.check()
                except Unavailable as error:
                    # The same span is asked for again.
                    log.info("positions could not be checked", reason=str(error))

    async def check(self) -> None:
        """One round.

        Raises:
            Unavailable: the journal cannot be read.
        """
        if not len(self._hub):
            self._since = None
            return
        changes = await self._journal.changed(self._since, SETTLED)
        watched = [
            (queue, job_id)
            for queue, job_ids in changes.job_ids.items()
            for job_id in job_ids
            if self._hub.follows(queue, job_id)
        ]
        for start in range(0, len(watched), BATCH):
            await self._compare(watched[start : start + BATCH], changes.until)
        self._since = changes.until
        self._hub.verified()

    async def _compare(self, jobs: list[tuple[str, str]], until: int) -> None:
        positions = await self._journal.positions([job_id for _, job_id in jobs], until)
        for (queue, job_id), position in zip(jobs, positions, strict=True):
            if position is not None and not self._hub.verify(queue, job_id, position):
                self._metrics.silent_gaps.inc()
                log.warning("an event did not come by the feed; it is read from the record", job=job_id)
