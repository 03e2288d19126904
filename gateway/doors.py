"""What the doors share: who is connected, how many may be, and how they are let go."""

import asyncio
from collections.abc import Callable
from typing import Final

from jobcast.gateway.allowance import Allowance
from jobcast.gateway.client import Client
from jobcast.gateway.hub import Hub
from jobcast.gateway.outlet import Outlet
from jobcast.gateway.wire import Dialect
from jobcast.shared.errors import Unavailable

ADMITTED_AT_ONCE: Final = 5.0
"""Seconds' worth of newcomers at once."""
CLOSES_A_SECOND: Final = 200
"""Clients let go at once when the gateway stops; those who come back land on the others at this rate."""


class Clients:
    """Everyone connected to this gateway, through whatever door. ``calls`` may be made by each in a second.

    ``admissions`` are let in in a second: taking in a crowd as fast as it comes leaves no time for who is here already.
    """

    def __init__(self, hub: Hub, *, most: int, most_subscriptions: int, calls: float, admissions: float) -> None:
        self._hub = hub
        self._most = most
        self._most_subscriptions = most_subscriptions
        self._calls = calls
        self._admissions = Allowance(admissions, 0.0, ADMITTED_AT_ONCE)
        self._open: dict[Client, None] = {}
        self.stopping = False

    def __len__(self) -> int:
        return len(self._open)

    def refusal(self) -> Unavailable | None:
        """Why a newcomer is to come again later; None lets it in, and counts it.

        Every door asks before it spends anything on a newcomer: a WebSocket's before its upgrade.
        """
        if self.stopping:
            return Unavailable("this gateway is stopping; connect again")
        if self._admissions.take(asyncio.get_running_loop().time()):
            return None
        self._hub.metrics.turned_away.labels("admission").inc()
        return Unavailable("more clients come at once than this gateway takes in; try again in some seconds")

    def open(self, door: str, outlet: Outlet, dialect: Dialect, hang_up: Callable[[Client, str], None]) -> Client:
        """A new client, forgotten here when it is closed; ``hang_up`` then ends its connection.

        Raises:
            Unavailable: there is no room, or the gateway is stopping.
        """
        if self.stopping:
            raise Unavailable("this gateway is stopping; connect again")
        if len(self._open) >= self._most:
            raise Unavailable(f"this gateway serves {self._most} clients at most; try again later")

        def on_close(client: Client, reason: str) -> None:
            self._open.pop(client, None)
            hang_up(client, reason)

        client = Client(
            door,
            self._hub,
            outlet,
            dialect,
            most=self._most_subscriptions,
            allowance=Allowance(self._calls, asyncio.get_running_loop().time()),
            on_close=on_close,
        )
        self._open[client] = None
        return client

    def lost(self) -> None:
        """The feed is gone: tell all who watch something."""
        for client in tuple(self._open):
            if client.jobs or client.queues:
                client.lost()

    def found(self) -> None:
        """The feed is there again: what everybody was sent is compared with the record."""
        self._hub.suspect()
        for client in tuple(self._open):
            client.found()

    async def drain(self, window: float) -> None:
        """Take nobody new and let everybody go, spread over at most ``window`` seconds.

        Each may resume on another gateway by position; let go all at once, they would all come back at once.
        """
        self.stopping = True
        loop = asyncio.get_running_loop()
        everybody = list(self._open)
        start, span = loop.time(), min(window, len(everybody) / CLOSES_A_SECOND)
        for number, client in enumerate(everybody):
            wait = start + span * number / len(everybody) - loop.time()
            if wait > 0.01:
                await asyncio.sleep(wait)
            client.close("stopping")
        self.stop()

    def stop(self) -> None:
        """Let everybody go now."""
        self.stopping = True
        for client in list(self._open):
            client.close("stopping")
