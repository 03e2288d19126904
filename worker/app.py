"""The worker process: its modules, its loop, its signals."""

import asyncio
import signal
from collections.abc import Callable, Sequence
from typing import Final

import uvloop

from jobcast.shared import logs
from jobcast.shared.collector import spare_the_collector
from jobcast.shared.settings import Settings
from jobcast.worker.ending import end_what_is_left
from jobcast.worker.handlers import shipped
from jobcast.worker.modules import load_modules
from jobcast.worker.service import Service

SAME_ASKING: Final = 0.1
"""Seconds within which two SIGTERM are one: when a parent dies, Linux tells its children for each thread it had."""

_log = logs.get("worker")


def run(
    settings: Settings,
    modules: Sequence[str] = (),
    *,
    builtin: bool = True,
    on_ready: Callable[[], None] | None = None,
) -> None:
    """Work until SIGTERM or SIGINT; returns when what was in hand is finished or put back.

    A second signal ends the drain at once. ``modules`` are imported for the handlers they declare; ``on_ready`` is
    called once Redis answers.

    Raises:
        BadSettings: a module that cannot be imported, a handler declared twice, or nothing to work for.
    """
    registry = load_modules(modules, [shipped(settings.roots)] if builtin else [])
    if builtin:
        for root in settings.roots:
            if not root.is_dir():
                _log.warning(
                    "a directory of JOBCAST_FILE_ROOTS is not there; no file of it can be read", root=str(root)
                )
    spare_the_collector()
    loop = uvloop.new_event_loop()
    try:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(_with_signals(Service(settings, registry), on_ready))
    finally:
        end_what_is_left(loop)
        asyncio.set_event_loop(None)
        loop.close()


async def _with_signals(service: Service, on_ready: Callable[[], None] | None) -> None:
    loop = asyncio.get_running_loop()
    last = -SAME_ASKING

    def terminate() -> None:
        nonlocal last
        again, last = loop.time() - last < SAME_ASKING, loop.time()
        if not again:
            service.stop()

    loop.add_signal_handler(signal.SIGTERM, terminate)
    loop.add_signal_handler(signal.SIGINT, service.stop)
    try:
        await service.serve(on_ready)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
