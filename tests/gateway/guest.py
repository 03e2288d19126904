"""A client whose connection may break at any time; what it was told is kept, and held to the promise as it comes."""

import asyncio
from collections import Counter
from typing import Final

from jobcast.gateway.hub import Hub
from jobcast.gateway.outbox import Outbox
from jobcast.gateway.wire import parse
from jobcast.shared.errors import Unavailable
from jobcast.shared.position import Position
from tests.gateway.seam import Ledger
from tests.gateway.support import PulledClient

JOBS: Final = ("a", "b")
ROOM: Final = 700
"""Bytes an outbox holds: four events or so, that clients fall behind."""


class Guest:
    """One client and what it was told: the connection may break, the ledgers stay."""

    def __init__(self, hub: Hub, progress: set[Position], seen: Counter[str]) -> None:
        self._hub = hub
        self._progress = progress
        self.seen = seen
        self.ledgers: dict[str, Ledger] = {}
        for job in JOBS:
            self._begin(job)
        self.calls: dict[str, asyncio.Task[None]] = {}
        self.connect()

    def _begin(self, job: str) -> None:
        self.ledgers[job] = Ledger()
        self.ledgers[job].progress = self._progress

    def connect(self) -> None:
        self.client = PulledClient(self._hub, 100)
        self.client.pulled.outbox = Outbox(mark=ROOM)

    def watch(self, job: str, *, anew: bool = False) -> None:
        """From where it is; ``anew`` knowing nothing, as a page that was loaded again."""
        self.hang_up(job)
        self.calls[job] = asyncio.create_task(self._watch(self.client, job, anew=anew))

    async def _watch(self, client: PulledClient, job: str, *, anew: bool) -> None:
        while not client.closed:
            # Everything the old watch has sent is read first: what it sends later would come a second time.
            while self.hear():
                pass
            if anew:
                self._begin(job)
            since = self.ledgers[job].position
            try:
                opened = await client.watch_job(job, since)
            except Unavailable:
                await asyncio.sleep(0.1)
                continue
            if since is not None:
                self.seen["recovered" if opened.recovered else "resets"] += 1
            return

    def hang_up(self, job: str) -> None:
        call = self.calls.pop(job, None)
        if call is not None:
            call.cancel()

    def hear(self) -> bool:
        """Read some of what it is owed; False when there is nothing."""
        outlet = self.client.pulled
        if not len(outlet.outbox):
            return False
        for wire in b"".join(outlet.take()).splitlines():
            message = parse(wire)
            job = message.job_id if message is not None else wire.partition(b'"jobId":"')[2][:1].decode()
            if job:
                self.ledgers[job].hear(wire)
        return True
