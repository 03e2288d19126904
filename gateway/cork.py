"""How events reach the outlets of many connections: the same to all at once, and one write for each read of Redis."""

import os
from collections.abc import Iterable
from itertools import repeat

from jobcast.gateway.metrics import Metrics
from jobcast.gateway.outlet import Outlet
from jobcast.shared import logs

log = logs.get("outlet")


class Cork:
    """While ``active``, what is offered to an outlet waits for :meth:`flush`, which joins it into one write."""

    __slots__ = ("_held", "_metrics", "active")

    def __init__(self, metrics: Metrics) -> None:
        self.active = False
        self._metrics = metrics
        self._held: dict[Outlet, list[bytes]] = {}

    def offer(self, outlet: Outlet, entry: bytes) -> bool:
        """As :meth:`Outlet.offer`."""
        if outlet.blocked or not self.active:
            return outlet.offer(entry)
        self._held.setdefault(outlet, []).append(entry)
        return True

    def offer_all(self, outlets: Iterable[Outlet], entry: bytes) -> list[Outlet]:
        """The same to each; those that have no room for it."""
        if not self.active:
            return self._write(zip(outlets, repeat(entry)))
        held = self._held
        full: list[Outlet] = []
        for outlet in outlets:
            if outlet.blocked:
                full += self._write(((outlet, entry),))
            else:
                held.setdefault(outlet, []).append(entry)
        return full

    def flush(self) -> None:
        """Write what was held. Nothing can have blocked an outlet meanwhile: the loop ran nothing else."""
        self.active = False
        if not self._held:
            return
        held, self._held = self._held, {}
        for outlet in self._write(zip(held, map(b"".join, held.values()), strict=True)):
            # It counts as sent what was not: it has to begin anew.
            outlet.slow()

    def _write(self, pairs: Iterable[tuple[Outlet, bytes]]) -> list[Outlet]:
        """The hottest loop of the gateway: what :meth:`Outlet.offer` does, in one frame, for as long as all goes well.

        One connection's fault is not the others' loss: whatever it raises, it counts as one that took nothing.
        """
        write = os.write
        full: list[Outlet] = []
        for outlet, entry in pairs:
            sent = 0
            try:
                if outlet.blocked or outlet.descriptor < 0:
                    if not outlet.offer(entry):
                        full.append(outlet)
                    continue
                try:
                    sent = write(outlet.descriptor, entry)
                except BlockingIOError:
                    pass
                except OSError:
                    outlet.broken()
                    continue
                if sent < len(entry):
                    outlet.rest(entry[sent:])
            except Exception:
                self._metrics.sink_errors.inc()
                log.exception("a connection failed to take events")
                if sent:
                    # Whatever came next would stand behind half of this.
                    outlet.slow()
                else:
                    full.append(outlet)
        return full
