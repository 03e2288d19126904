"""The HTTP door: submit, look, cancel, retry; health and metrics; the dashboard."""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from jobcast.gateway.bulk import read_bulk
from jobcast.gateway.feed import Feed
from jobcast.gateway.metrics import Metrics
from jobcast.shared.circuit import Circuits
from jobcast.shared.errors import BadRequest, PayloadTooLarge, UnknownJob
from jobcast.shared.health import Health
from jobcast.shared.journal.contract import Journal, Reading
from jobcast.shared.names import check_job_id, check_queue_name
from jobcast.shared.options import read_options
from jobcast.shared.queue import LONGEST_REASON, JobQueues
from jobcast.shared.snapshot import Snapshot, build
from jobcast.shared.states import LIVE, State
from jobcast.shared.throughput import Throughputs

LARGEST_BODY: Final = 64 * 1024
LARGEST_BULK: Final = 1024 * 1024
MOST_JOBS: Final = 200
MOST_SCANNED: Final = 1000
"""Jobs looked at for one page of a filtered list; beyond, the page ends early and its cursor goes on."""
MOST_QUEUES: Final = 100
NOT_OVER: Final = LIVE | {"cancelling"}
_read_json: Final = msgspec.json.Decoder().decode


class JsonResponse(Response):
    """JSON by orjson; structs of ours included."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content, default=msgspec.to_builtins)


class Routes:
    """Everything under ``/api/v1``, and what operators ask."""

    def __init__(  # noqa: PLR0913, PLR0917  what there is to be asked about; only the wiring calls it
        self,
        journal: Journal,
        queues: JobQueues,
        health: Health,
        metrics: Metrics,
        feed: Feed,
        circuits: Circuits,
    ) -> None:
        self._journal = journal
        self._queues = queues
        self._health = health
        self._metrics = metrics
        self._feed = feed
        self._circuits = circuits
        self._throughputs = Throughputs(queues)
        self.stopping = False

    def table(self) -> list[Route]:
        """The routes, the more particular before the more general."""
        api = "/api/v1"
        return [
            Route(f"{api}/jobs", self.submit, methods=["POST"]),
            Route(f"{api}/jobs", self.list_jobs, methods=["GET"]),
            Route(f"{api}/jobs/bulk", self.submit_many, methods=["POST"]),
            Route(f"{api}/jobs/queue/{{queue}}/stats", self.classic_stats, methods=["GET"]),
            Route(f"{api}/jobs/queue/{{queue}}/jobs", self.classic_jobs, methods=["GET"]),
            Route(f"{api}/jobs/{{job_id}}", self.get_job, methods=["GET"]),
            Route(f"{api}/jobs/{{job_id}}", self.cancel, methods=["DELETE"]),
            Route(f"{api}/jobs/{{job_id}}/progress", self.get_progress, methods=["GET"]),
            Route(f"{api}/jobs/{{job_id}}/result", self.get_result, methods=["GET"]),
            Route(f"{api}/jobs/{{job_id}}/history", self.get_history, methods=["GET"]),
            Route(f"{api}/jobs/{{job_id}}/retry", self.retry, methods=["POST"]),
            Route(f"{api}/queues", self.list_queues, methods=["GET"]),
            Route(f"{api}/queues/{{queue}}", self.get_queue, methods=["GET"]),
            Route("/healthz", self.healthz, methods=["GET"]),
            Route("/readyz", self.readyz, methods=["GET"]),
            Route("/metrics", self.metrics, methods=["GET"]),
        ]

    # Jobs.

    async def submit(self, request: Request) -> Response:
        """``{queue, name, data, opts?}`` -> 202 ``{jobId}``; ``deduplicated`` when BullMQ already had that job."""
        body = await read_body(request)
        if not isinstance(body, dict):
            raise BadRequest("expected a JSON object {queue, name, data, opts?}")
        if unknown := sorted(set(body) - {"queue", "name", "data", "opts"}):
            raise BadRequest(f"expected only queue, name, data and opts; got also {', '.join(unknown)[:200]}")
        queue = check_queue_name(body.get("queue"))
        options = read_options(body.get("opts"))
        submitted = await self._queues.submit(queue, body.get("name", ""), body.get("data", {}), options)
        answer: dict[str, Any] = {"jobId": submitted.job_id}
        if not submitted.fresh:
            answer["deduplicated"] = True
        return JsonResponse(answer, 202, {"Location": f"/api/v1/jobs/{submitted.job_id}"})

    async def submit_many(self, request: Request) -> Response:
        """``{queue, jobs: [{name, data?, opts?}, ...]}`` -> 202 ``{jobIds, deduplicated?}``, the ids in their order."""
        queue, jobs = read_bulk(await read_body(request, LARGEST_BULK))
        submitted = await self._queues.submit_many(queue, jobs)
        answer = {"jobIds": [each.job_id for each in submitted]}
        if there := [each.job_id for each in submitted if not each.fresh]:
            answer["deduplicated"] = there
        return JsonResponse(answer, 202)

    async def get_job(self, request: Request) -> Response:
        return JsonResponse(job_view(await self._snapshot(request)))

    async def get_progress(self, request: Request) -> Response:
        found = await self._snapshot(request)
        return JsonResponse(
            {
                "jobId": found.job_id,
                "status": found.state,
                "progress": found.progress,
                "percent": found.percent,
                "stage": found.stage,
                "details": found.details,
                "epoch": found.epoch,
                "seq": found.seq,
            }
        )

    async def get_result(self, request: Request) -> Response:
        found = await self._snapshot(request)
        return JsonResponse(
            {
                "jobId": found.job_id,
                "status": found.state,
                "result": _or_none(found.result),
                "error": _or_none(found.error),
            }
        )

    async def get_history(self, request: Request) -> Response:
        """The events that are still kept, oldest first, as they were published."""
        found = await self._snapshot(request)
        entries = await self._journal.history(found.job_id)
        events = [orjson.Fragment(entry.wire) for entry in entries]
        return JsonResponse({"jobId": found.job_id, "epoch": found.epoch, "seq": found.seq, "events": events})

    async def cancel(self, request: Request) -> Response:
        job_id = check_job_id(request.path_params["job_id"])
        reason = request.query_params.get("reason")
        if reason is not None and len(reason) > LONGEST_REASON:
            raise BadRequest(f"expected a reason of at most {LONGEST_REASON} characters")
        return JsonResponse({"jobId": job_id, **(await self._queues.cancel_family(job_id, reason)).to_dict()}, 202)

    async def retry(self, request: Request) -> Response:
        job_id = check_job_id(request.path_params["job_id"])
        await self._queues.retry(job_id)
        return JsonResponse({"jobId": job_id, "state": "waiting"}, 202)

    async def list_jobs(self, request: Request) -> Response:
        """``?queue=`` is needed; ``status``, ``limit`` and ``cursor`` narrow it. Newest change first."""
        query = request.query_params
        queue = check_queue_name(query.get("queue"))
        return JsonResponse(
            await self._page(queue, query.get("status"), _limit(query.get("limit")), query.get("cursor"))
        )

    # Queues.

    async def list_queues(self, _request: Request) -> Response:
        names = (await self._journal.queues())[:MOST_QUEUES]
        return JsonResponse({"queues": [await self._queue_view(name) for name in names]})

    async def get_queue(self, request: Request) -> Response:
        queue = check_queue_name(request.path_params["queue"])
        return JsonResponse({**await self._queue_view(queue), "throughput": await self._throughputs.read(queue)})

    async def _queue_view(self, queue: str) -> dict[str, Any]:
        return {**msgspec.to_builtins(await self._health.look(queue)), "circuit": await self._circuits.read(queue)}

    async def classic_stats(self, request: Request) -> Response:
        queue = check_queue_name(request.path_params["queue"])
        counts = await self._queues.counts(queue)
        return JsonResponse({"queueName": queue, **counts, "total": sum(counts.values())})

    async def classic_jobs(self, request: Request) -> Response:
        query = request.query_params
        queue = check_queue_name(request.path_params["queue"])
        page = await self._page(queue, query.get("status"), _limit(query.get("limit")), query.get("cursor"))
        return JsonResponse({"queueName": queue, **page})

    # Operators.

    async def healthz(self, _request: Request) -> Response:
        """The process answers; nothing else is looked at."""
        return JsonResponse({"status": "ok"})

    async def readyz(self, _request: Request) -> Response:
        """200 while the feed is alive and current; 503 says which it is not."""
        status = "stopping" if self.stopping else self._feed.status
        return JsonResponse({"status": status}, 200 if status == "alive" else 503)

    async def metrics(self, _request: Request) -> Response:
        self._metrics.feed_alive.set(self._feed.status == "alive")
        self._metrics.feed_losses.set(self._feed.losses)
        self._metrics.feed_failures.set(self._feed.failures)
        return Response(self._metrics.render(), media_type="text/plain; version=0.0.4")

    async def _snapshot(self, request: Request) -> Snapshot:
        job_id = check_job_id(request.path_params["job_id"])
        reading = await self._journal.read(job_id)
        if reading.position is None:
            raise UnknownJob(f"no record of job {job_id}")
        return build(job_id, reading)

    async def _page(self, queue: str, status: str | None, limit: int, cursor: str | None) -> dict[str, Any]:
        if status is not None and status not in State.__args__:  # type: ignore[attr-defined]
            raise BadRequest(f"expected status as one of {', '.join(State.__args__)}")  # type: ignore[attr-defined]
        jobs: list[dict[str, Any]] = []
        scanned = 0
        while len(jobs) < limit and scanned < MOST_SCANNED:
            page = await self._journal.jobs(queue, limit=limit - len(jobs), cursor=cursor, live=status in NOT_OVER)
            readings = await self._journal.read_many(page.job_ids)
            jobs.extend(_matching(page.job_ids, readings, queue, status))
            scanned += len(page.job_ids)
            cursor = page.cursor
            if cursor is None:
                break
        return {"jobs": jobs, "cursor": cursor}


async def read_body(request: Request, limit: int = LARGEST_BODY) -> Any:
    """The JSON of a request, refused as soon as it is too large rather than after it was taken in."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise PayloadTooLarge(f"expected a body of at most {limit} bytes")
    try:
        return _read_json(bytes(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"expected a JSON body: {error}") from error


def job_view(found: Snapshot) -> dict[str, Any]:
    """A job as ``GET /api/v1/jobs/{id}`` shows it; times are ISO 8601 in UTC."""
    return {
        "id": found.job_id,
        "name": found.name,
        "queue": found.queue,
        "status": found.state,
        "progress": found.progress,
        "percent": found.percent,
        "stage": found.stage,
        "result": _or_none(found.result),
        "error": _or_none(found.error),
        "attempts": found.attempt,
        "maxAttempts": found.max_attempts,
        **{name: told for name, told in (("parentId", found.parent_id), ("children", found.children)) if told},
        "createdAt": _iso(found.queued_at),
        "processedAt": _iso(found.started_at),
        "finishedAt": _iso(found.finished_at),
        "epoch": found.epoch,
        "seq": found.seq,
    }


def _matching(job_ids: list[str], readings: list[Reading], queue: str, status: str | None) -> list[dict[str, Any]]:
    """Views of what is still recorded: the index outlives the records it names."""
    found = [
        build(job_id, reading)
        for job_id, reading in zip(job_ids, readings, strict=True)
        if reading.position is not None and reading.fields["queue"].decode() == queue
    ]
    return [job_view(snapshot) for snapshot in found if status is None or snapshot.state == status]


def _limit(text: str | None) -> int:
    if text is None:
        return 50
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and 1 <= int(text) <= MOST_JOBS):
        raise BadRequest(f"expected limit from 1 to {MOST_JOBS}, got {text[:32]!r}")
    return int(text)


def _iso(ms: int | None) -> str | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")


def _or_none(value: Any) -> Any:
    return None if value is msgspec.UNSET else value
