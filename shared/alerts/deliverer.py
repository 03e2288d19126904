"""Hands what is in the outbox to the sink: one process at a time, again and again until each alert is taken.

The holder of the lease may die between the receiver's answer and its own note of it, or be replaced while it stands
still: then an alert is delivered twice, under one id. It is never forgotten.
"""

import asyncio
import random
from typing import Final

from jobcast.shared import logs
from jobcast.shared.alerts.outbox import Outbox, Pending
from jobcast.shared.alerts.sinks import DEADLINE, Sink
from jobcast.shared.lease import Lease

LEASE: Final = 30.0
"""Seconds; longer than one delivery, for it is renewed before each."""
BATCH: Final = 20
FIRST_DELAY: Final = 1.0
LONGEST_DELAY: Final = 300.0
"""Seconds between two tries of one alert, less up to half by chance. It is tried until it is taken."""

_log = logs.get("alerts")


class Deliverer:
    """``first_delay`` in seconds, doubled with each failed try."""

    def __init__(
        self,
        outbox: Outbox,
        sink: Sink,
        lease: Lease,
        *,
        deadline: float = DEADLINE,
        first_delay: float = FIRST_DELAY,
    ) -> None:
        self._outbox = outbox
        self._sink = sink
        self._lease = lease
        self._deadline = deadline
        self._first_delay = first_delay

    async def deliver(self) -> int:
        """Offer what is due, each alert once; how many were taken. Nothing while another process has the lease."""
        taken = 0
        if not await self._lease.hold():
            return taken
        for pending in await self._outbox.due(BATCH):
            if not await self._lease.hold():
                break
            taken += await self._offer(pending)
        return taken

    async def _offer(self, pending: Pending) -> bool:
        alert = pending.alert
        try:
            async with asyncio.timeout(self._deadline):
                await self._sink.send(alert)
        except Exception as error:  # noqa: BLE001  a sink of whoever's may raise what it will; the alert stays
            delay = min(LONGEST_DELAY, self._first_delay * 2.0 ** min(pending.tries, 16))
            delay *= random.uniform(0.5, 1.0)  # noqa: S311  spreads tries, guards nothing
            said = "no answer in time" if isinstance(error, TimeoutError) else str(error)
            _log.warning(
                "an alert was not delivered; it is tried again",
                alert_id=alert.id,
                kind=alert.kind,
                tries=pending.tries + 1,
                error=said,
                again_in=round(delay, 1),
            )
            await self._outbox.later(alert, delay)
            return False
        await self._outbox.done(alert)
        return True
