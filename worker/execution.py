"""A handler at work, as a future: an async function as a task, a plain one in a thread of its own."""

import asyncio
import contextlib
import inspect
import threading
from typing import Any

from jobcast.worker.bridge import Bridge
from jobcast.worker.context import Context, SyncContext
from jobcast.worker.errors import Cancelled
from jobcast.worker.registry import Handler


class HandlerError(Exception):
    """What a handler did that no job can end with; the sentence says what."""


def start(handler: Handler, context: Context) -> "asyncio.Future[Any]":
    """Begin; the future holds the result or what was raised. Cancelling it stops an async handler, no thread."""
    if handler.is_async:
        return asyncio.create_task(_call(handler, context), name=f"handler {context.job_id}")
    return _start_thread(handler, context)


async def _call(handler: Handler, context: Context) -> Any:
    try:
        return await handler.function(context)
    except (SystemExit, KeyboardInterrupt, GeneratorExit) as error:
        # Left alone it would pass through the task and end the whole worker.
        raise HandlerError(f"the handler raised {error!r}") from error


def _start_thread(handler: Handler, context: Context) -> "asyncio.Future[Any]":
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()
    sync = SyncContext(Bridge(loop), context)

    def settle(result: Any, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
            future.exception()  # looked at: one that nobody waits for any more is no news
        else:
            future.set_result(result)

    def work() -> None:
        result, error = None, None
        try:
            result = _plain(handler.function(sync))
        except (Exception, Cancelled) as raised:  # noqa: BLE001  carried to the runner, which tells it
            error = HandlerError("the handler raised StopIteration") if isinstance(raised, StopIteration) else raised
        except BaseException as raised:  # noqa: BLE001  sys.exit() in a handler ends its attempt, not the worker
            error = HandlerError(f"the handler raised {raised!r}")
        with contextlib.suppress(RuntimeError):  # the loop is closed: the worker ended without us
            loop.call_soon_threadsafe(settle, result, error)

    # A daemon: a handler that never returns must not keep the process from ending. Not from a pool: a thread that is
    # stuck would take a place there for good, and the pool waits for its threads at exit.
    threading.Thread(target=work, name=f"handler {context.job_id}", daemon=True).start()
    return future


def _plain(result: Any) -> Any:
    if inspect.iscoroutine(result):
        result.close()
        raise HandlerError("the handler returned a coroutine; declare it with async def")
    return result
