"""What the doors share: who is connected, how many may be, and when to stop."""

import asyncio
from typing import Final

from jobcast.gateway.client import Client
from jobcast.gateway.hub import Hub
from jobcast.shared.errors import Unavailable

WRITE_DEADLINE: Final = 10.0
"""Seconds without progress in writing to a client; then it is closed as slow, and may resume by position."""


class Clients:
    """Everyone connected to this gateway, through whatever door."""

    def __init__(self, hub: Hub, *, most: int, most_subscriptions: int) -> None:
        self._hub = hub
        self._most = most
        self._most_subscriptions = most_subscriptions
        self._open: set[Client] = set()
        self.stopping = asyncio.Event()

    def __len__(self) -> int:
        return len(self._open)

    def open(self, door: str) -> Client:
        """A new client; it forgets itself here when it is closed.

        Raises:
            Unavailable: there is no room, or the gateway is stopping.
        """
        if self.stopping.is_set():
            raise Unavailable("this gateway is stopping; connect again")
        if len(self._open) >= self._most:
            raise Unavailable(f"this gateway serves {self._most} clients at most; try again later")
        client = Client(door, self._hub, most=self._most_subscriptions, on_close=self._open.discard)
        self._open.add(client)
        return client

    def stop(self) -> None:
        """Take nobody new and let everybody go; each may resume on another gateway by position."""
        self.stopping.set()
        for client in list(self._open):
            client.close("stopping")
