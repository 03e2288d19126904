"""The HTTP door of schedules: ``/api/v1/queues/{queue}/schedules``. Times are taken as ISO 8601 or ms, shown as ISO."""

from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from jobcast.gateway.routes import JsonResponse, read_body
from jobcast.shared.errors import UnknownJob
from jobcast.shared.planned import Planned
from jobcast.shared.schedule import read_schedule
from jobcast.shared.schedules import Schedules


class ScheduleRoutes:
    """Make, look, remove."""

    def __init__(self, schedules: Schedules) -> None:
        self._schedules = schedules

    def table(self) -> list[Route]:
        every, one = "/api/v1/queues/{queue}/schedules", "/api/v1/queues/{queue}/schedules/{schedule_id}"
        return [
            Route(every, self.listed, methods=["GET"]),
            Route(one, self.put, methods=["PUT"]),
            Route(one, self.get, methods=["GET"]),
            Route(one, self.remove, methods=["DELETE"]),
        ]

    async def put(self, request: Request) -> Response:
        """``{repeat, name, data?, opts?}`` -> 201 with the schedule; 200 when it is there as it stands."""
        queue, schedule_id = _named(request)
        schedule = read_schedule(queue, schedule_id, await read_body(request))
        fresh = await self._schedules.upsert(schedule)
        return JsonResponse(_view(await self._find(queue, schedule_id)), 201 if fresh else 200)

    async def listed(self, request: Request) -> Response:
        """At most 1,000, the one to run next first."""
        found = await self._schedules.listed(request.path_params["queue"])
        return JsonResponse({"schedules": [_view(each) for each in found]})

    async def get(self, request: Request) -> Response:
        return JsonResponse(_view(await self._find(*_named(request))))

    async def remove(self, request: Request) -> Response:
        """The schedule and its waiting job; one that runs is left to run."""
        queue, schedule_id = _named(request)
        if not await self._schedules.remove(queue, schedule_id):
            raise _unknown(queue, schedule_id)
        return JsonResponse({"queue": queue, "id": schedule_id, "removed": True})

    async def _find(self, queue: str, schedule_id: str) -> Planned:
        found = await self._schedules.get(queue, schedule_id)
        if found is None:
            raise _unknown(queue, schedule_id)
        return found


def _named(request: Request) -> tuple[str, str]:
    return request.path_params["queue"], request.path_params["schedule_id"]


def _unknown(queue: str, schedule_id: str) -> UnknownJob:
    return UnknownJob(f"no schedule {schedule_id[:200]!r} in queue {queue}")


def _view(planned: Planned) -> dict[str, Any]:
    repeat = {word: _iso(value) if word.endswith("Date") else value for word, value in planned.repeat.items()}
    return {
        "queue": planned.queue,
        "id": planned.id,
        "name": planned.name,
        "data": planned.data,
        "opts": planned.opts,
        "repeat": repeat,
        "next": None if planned.is_over else _iso(planned.next),
        "ran": planned.ran,
        "over": planned.is_over,
    }


def _iso(ms: int) -> str | int:
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):  # another program's idea of a time
        return ms
