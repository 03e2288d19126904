"""The HTTP door's operations: what changes queues and jobs beyond submitting, cancelling and retrying one.

As open as those three, and guarded as they are: a page of another origin is refused before it comes here.
"""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from jobcast.gateway.routes import MOST_QUEUES, JsonResponse, read_body
from jobcast.shared.errors import BadRequest
from jobcast.shared.health import Health
from jobcast.shared.journal.contract import Journal
from jobcast.shared.names import check_job_id, check_queue_name
from jobcast.shared.operations import MOST_AT_ONCE, Operations

_NUMBER: Final = (int, float)


class OperationRoutes:
    """Under ``/api/v1``. A body is a JSON object of the fields named, or nothing."""

    def __init__(self, operations: Operations, health: Health, journal: Journal) -> None:
        self._operations = operations
        self._health = health
        self._journal = journal

    def table(self) -> list[Route]:
        """Beside the routes of ``Routes``."""
        queue, job = "/api/v1/queues/{queue}", "/api/v1/jobs/{job_id}"
        return [
            Route("/api/v1/health", self.health, methods=["GET"]),
            Route(f"{queue}/jobs", self.jobs, methods=["GET"]),
            Route(f"{queue}/pause", self.pause, methods=["POST"]),
            Route(f"{queue}/resume", self.resume, methods=["POST"]),
            Route(f"{queue}/drain", self.drain, methods=["POST"]),
            Route(f"{queue}/clean", self.clean, methods=["POST"]),
            Route(f"{queue}/retry-failed", self.retry_failed, methods=["POST"]),
            Route(f"{job}/details", self.details, methods=["GET"]),
            Route(f"{job}/promote", self.promote, methods=["POST"]),
            Route(f"{job}/remove", self.remove, methods=["POST"]),
        ]

    async def health(self, _request: Request) -> Response:
        """Every queue. Always 200: whether the gateway itself can serve is for ``/readyz`` to say."""
        queues = [await self._health.look(name) for name in (await self._journal.queues())[:MOST_QUEUES]]
        return JsonResponse({"healthy": all(each.healthy for each in queues), "queues": queues})

    async def jobs(self, request: Request) -> Response:
        """``?state=`` in BullMQ's words; ``start`` and ``limit`` turn the pages."""
        queue, query = _queue(request), request.query_params
        start, limit = _whole("start", query.get("start", "0")), _whole("limit", query.get("limit", "50"))
        found = await self._operations.jobs(queue, query.get("state", ""), start=start, limit=limit)
        return JsonResponse({"queue": queue, "jobs": found})

    async def pause(self, request: Request) -> Response:
        await self._operations.pause(queue := _queue(request))
        return JsonResponse({"queue": queue, "paused": True})

    async def resume(self, request: Request) -> Response:
        await self._operations.resume(queue := _queue(request))
        return JsonResponse({"queue": queue, "paused": False})

    async def drain(self, request: Request) -> Response:
        """``{delayed?: bool, limit?}``"""
        given = await _fields(request, delayed=(bool,), limit=(int,))
        return JsonResponse(
            await self._operations.drain(
                _queue(request), delayed=given.get("delayed", False), limit=given.get("limit", MOST_AT_ONCE)
            )
        )

    async def clean(self, request: Request) -> Response:
        """``{state: "completed" | "failed", olderThan?: seconds, limit?}``"""
        given = await _fields(request, state=(str,), olderThan=_NUMBER, limit=(int,))
        return JsonResponse(
            await self._operations.clean(
                _queue(request),
                given.get("state", ""),
                older_than=given.get("olderThan"),
                limit=given.get("limit", MOST_AT_ONCE),
            )
        )

    async def retry_failed(self, request: Request) -> Response:
        """``{limit?, before?: Unix ms, skip?}``; with ``before`` and ``skip`` of the answer the same round goes on."""
        given = await _fields(request, limit=(int,), before=(int,), skip=(int,))
        return JsonResponse(
            await self._operations.retry_failed(
                _queue(request),
                limit=given.get("limit", MOST_AT_ONCE),
                before=given.get("before"),
                skip=given.get("skip", 0),
            )
        )

    async def details(self, request: Request) -> Response:
        """``?queue=`` for a job of which there is no record yet."""
        return JsonResponse(await self._operations.details(_job_id(request), request.query_params.get("queue")))

    async def promote(self, request: Request) -> Response:
        job_id = _job_id(request)
        await self._operations.promote(job_id, request.query_params.get("queue"))
        return JsonResponse({"jobId": job_id, "state": "waiting"})

    async def remove(self, request: Request) -> Response:
        job_id = _job_id(request)
        removed = await self._operations.remove(job_id, request.query_params.get("queue"))
        return JsonResponse({"jobId": job_id, "removed": removed})


def _queue(request: Request) -> str:
    return check_queue_name(request.path_params["queue"])


def _job_id(request: Request) -> str:
    return check_job_id(request.path_params["job_id"])


def _whole(name: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise BadRequest(f"expected {name} as a whole number, got {text[:32]!r}")
    return int(text)


async def _fields(request: Request, **kinds: tuple[type, ...]) -> dict[str, Any]:
    """The fields of a body, each of one of its kinds; a misspelt one must not have a queue drained by default."""
    length = request.headers.get("content-length", "0")
    if length == "0" and "transfer-encoding" not in request.headers:
        return {}
    body = await read_body(request)
    if not isinstance(body, dict):
        raise BadRequest(f"expected a JSON object with {', '.join(kinds)}, or no body")
    if unknown := sorted(set(body) - set(kinds)):
        raise BadRequest(f"expected only {', '.join(kinds)}; got also {', '.join(unknown)[:200]}")
    for name, value in body.items():
        if type(value) not in kinds[name]:
            wanted = " or ".join(kind.__name__ for kind in kinds[name])
            raise BadRequest(f"expected {name} as {wanted}, got {type(value).__name__}")
    return body
