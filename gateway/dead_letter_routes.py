"""The HTTP door to dead letters: look, have them run again, throw them away."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from jobcast.gateway.routes import JsonResponse
from jobcast.shared.dead_letters import DEAD_LETTER, MOST_LISTED, DeadLetters, Listed
from jobcast.shared.errors import BadRequest
from jobcast.shared.names import check_job_id, check_queue_name


class DeadLetterRoutes:
    """``?queue=`` names the queue of the letters where it is not ``dead-letter``."""

    def __init__(self, letters: DeadLetters) -> None:
        self._letters = letters

    def table(self) -> list[Route]:
        base = "/api/v1/dead-letters"
        return [
            Route(base, self.list, methods=["GET"]),
            Route(f"{base}/replay", self.replay_all, methods=["POST"]),
            Route(f"{base}/{{letter}}/replay", self.replay, methods=["POST"]),
            Route(f"{base}/{{letter}}", self.remove, methods=["DELETE"]),
        ]

    async def list(self, request: Request) -> Response:
        """``{queue, letters}``, the newest first, ``?limit=`` of them."""
        queue = _queue(request)
        found = await self._letters.letters(queue, _limit(request))
        return JsonResponse({"queue": queue, "letters": [_view(each) for each in found]})

    async def replay(self, request: Request) -> Response:
        """202 ``{jobId, queue, state}``: the job that the letter was of."""
        done = await self._letters.replay(check_job_id(request.path_params["letter"]), _queue(request))
        return JsonResponse(done, 202)

    async def replay_all(self, request: Request) -> Response:
        """202 ``{replayed, refused}`` for at most ``?limit=`` letters; whether more are left the list says."""
        return JsonResponse(await self._letters.replay_all(_queue(request), _limit(request)), 202)

    async def remove(self, request: Request) -> Response:
        letter = check_job_id(request.path_params["letter"])
        await self._letters.remove(letter, _queue(request))
        return JsonResponse({"id": letter, "state": "removed"})


def _view(listed: Listed) -> dict[str, Any]:
    return {"id": listed.id, "state": listed.state, **msgspec.to_builtins(listed.letter)}


def _queue(request: Request) -> str:
    return check_queue_name(request.query_params.get("queue", DEAD_LETTER))


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", "100")
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and 1 <= int(text) <= MOST_LISTED):
        raise BadRequest(f"expected limit from 1 to {MOST_LISTED}, got {text[:32]!r}")
    return int(text)
