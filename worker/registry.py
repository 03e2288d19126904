"""Which function does which job. A user's module fills it by decorating its functions."""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec

from jobcast.shared.definitions import LONGEST_TIMEOUT
from jobcast.shared.errors import BadSettings
from jobcast.shared.names import check_job_name, check_queue_name
from jobcast.shared.options import JobOptions
from jobcast.shared.schedule import Repeat, Schedule
from jobcast.worker.queues import QueueDefinition

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Handler:
    """A function that does one kind of job. ``timeout`` in seconds, None for the worker's default.

    ``data``: the type its job's data is converted to, None for the plain values.

    ``is_async``: called on the event loop with a ``Context``; otherwise in a thread with a ``SyncContext``.
    """

    queue: str
    name: str
    function: Callable[[Any], Any]
    is_async: bool
    timeout: float | None = None
    data: Any = None


class Registry:
    """Handlers by queue and name, and the queues that were declared."""

    def __init__(self) -> None:
        self._handlers: dict[tuple[str, str], Handler] = {}
        self._queues: dict[str, QueueDefinition] = {}
        self._schedules: dict[tuple[str, str], Schedule] = {}

    def add(
        self, queue: str, name: str, function: Callable[..., Any], *, timeout: float | None = None, data: Any = None
    ) -> Handler:
        """Take a handler.

        Raises:
            BadQueueName, BadRequest: a name no job can carry.
            BadSettings: the job has a handler already, the function cannot take a context, or the time-out is odd.
        """
        check_queue_name(queue)
        check_job_name(name)
        there = self._handlers.get((queue, name))
        if there is not None:
            raise BadSettings(
                f"job {name!r} of queue {queue!r} already has the handler {_called(there.function)}; "
                f"{_called(function)} needs another name"
            )
        _check_function(function)
        if timeout is not None and not 0 < timeout <= LONGEST_TIMEOUT:
            raise BadSettings(f"expected timeout in seconds above 0, at most {LONGEST_TIMEOUT:.0f}, got {timeout}")
        _check_type(queue, name, data)
        handler = Handler(queue, name, function, _is_async(function), timeout, data)
        self._handlers[queue, name] = handler
        return handler

    def declare(self, definition: QueueDefinition) -> QueueDefinition:
        """Say how a queue is worked; BadSettings when it was said before, or its dead letters would go round."""
        if definition.name in self._queues:
            raise BadSettings(f"queue {definition.name!r} is declared twice")
        self._check_letters(definition)
        self._queues[definition.name] = definition
        return definition

    def _check_letters(self, definition: QueueDefinition) -> None:
        """Refuse dead letters that go round: each death would be a letter that holds the one before."""
        way, to = [definition.name], definition.dead_letter
        while to is not None:
            way.append(to)
            if to == definition.name:
                raise BadSettings(f"expected dead letters to come to an end, got {' -> '.join(way)}")
            known = self._queues.get(to)
            to = None if known is None else known.dead_letter

    def plan(self, schedule: Schedule) -> Schedule:
        """Have a schedule made when the worker starts; BadSettings when its id was declared before."""
        where = schedule.queue, schedule.id
        if where in self._schedules:
            raise BadSettings(f"schedule {schedule.id!r} of queue {schedule.queue!r} is declared twice")
        self._schedules[where] = schedule.checked()
        return schedule

    def schedules(self) -> list[Schedule]:
        return list(self._schedules.values())

    def find(self, queue: str, name: str) -> Handler | None:
        return self._handlers.get((queue, name))

    def names(self, queue: str) -> list[str]:
        """The jobs of this queue that have a handler, sorted."""
        return sorted(name for at, name in self._handlers if at == queue)

    def queues(self) -> list[str]:
        """The queues that have a handler, sorted."""
        return sorted({queue for queue, _ in self._handlers})

    def definition(self, queue: str, default: QueueDefinition) -> QueueDefinition:
        return self._queues.get(queue, default)

    def merged(self, others: "Iterable[Registry]") -> "Registry":
        """A new registry with the handlers and queues of all; doubles are refused as in :meth:`add`."""
        merged = Registry()
        for registry in (self, *others):
            registry.copy_into(merged)
        return merged

    def copy_into(self, other: "Registry") -> None:
        for handler in self._handlers.values():
            other.add(handler.queue, handler.name, handler.function, timeout=handler.timeout, data=handler.data)
        for definition in self._queues.values():
            other.declare(definition)
        for schedule in self._schedules.values():
            other.plan(schedule)


USERS: Final = Registry()
"""What the modules of this process's user declare, by :func:`job` and :func:`queue`, when they are imported."""


def job(queue: str, name: str, *, timeout: float | None = None, data: Any = None) -> Callable[[F], F]:
    """Make a function the handler of a job; ``timeout`` in seconds bounds each attempt.

    ``data``: a type msgspec can check, a ``msgspec.Struct`` or a dataclass say. The handler finds its job's data as
    one; a job whose data is none fails for good before the handler is called.

    An ``async def`` gets a ``Context``; a plain function runs in a thread of its own and gets a ``SyncContext``.
    What it returns is the job's result, and must be JSON. The function itself is given back unchanged.
    """

    def take(function: F) -> F:
        USERS.add(queue, name, function, timeout=timeout, data=data)
        return function

    return take


def queue(definition: QueueDefinition) -> QueueDefinition:
    """Declare how a queue is worked, from a user's module."""
    return USERS.declare(definition)


def include(registry: Registry) -> Registry:
    """Take, from a user's module, all that a registry of one's own holds: handlers, queues and schedules.

    For handlers that are made by a function, with what they need, and so cannot be decorated where they stand.

    Raises:
        BadSettings: one of them is declared already.
    """
    registry.copy_into(USERS)
    return registry


def schedule(  # noqa: PLR0913  a schedule's words, each by its name
    queue: str,
    schedule_id: str,
    name: str,
    *,
    repeat: Repeat,
    data: Any = None,
    opts: JobOptions | None = None,
) -> Schedule:
    """Declare, from a user's module, that jobs ``name`` are made by a schedule, such as ``Repeat(every=60_000)``.

    A worker that starts makes it, or puts it in the place of the one of that id. A declaration that is gone from the
    module ends nothing: that is for ``jobcast schedule remove``.
    """
    data = {} if data is None else data
    planned = Schedule(queue=queue, id=schedule_id, name=name, repeat=repeat, data=data, opts=opts or JobOptions())
    return USERS.plan(planned)


def _called(function: Callable[..., Any]) -> str:
    module = getattr(function, "__module__", None) or "?"
    return f"{module}.{getattr(function, '__qualname__', repr(function))}"


def _check_type(queue: str, name: str, data: Any) -> None:
    if data is None:
        return
    try:
        msgspec.json.Decoder(data)
    except (TypeError, ValueError) as error:
        raise BadSettings(
            f"job {name!r} of queue {queue!r}: expected data as a type msgspec can check: {error}"
        ) from error


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004  asks what it is, not whether


def _check_function(function: Callable[..., Any]) -> None:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise BadSettings(f"expected a function that returns its result, got the generator {_called(function)}")
    try:
        inspect.signature(function).bind(None)
    except ValueError:  # a builtin hides its signature
        return
    except TypeError as error:
        raise BadSettings(f"expected {_called(function)} to take the context alone: {error}") from error
