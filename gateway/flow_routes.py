"""The HTTP door for flows."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from jobcast.gateway.routes import JsonResponse, read_body
from jobcast.shared.errors import BadRequest
from jobcast.shared.flows import JobFlows

LARGEST_BODY = 1024 * 1024
"""Bytes of one tree: some ten thousand jobs that carry little."""


class FlowRoutes:
    """``POST /api/v1/flows``."""

    def __init__(self, flows: JobFlows) -> None:
        self._flows = flows

    def table(self) -> list[Route]:
        return [Route("/api/v1/flows", self.submit, methods=["POST"])]

    async def submit(self, request: Request) -> Response:
        """``{queue, name, data?, opts?, children?}`` -> 202 ``{jobId, queue, name, children}``, the root's id first."""
        tree = await read_body(request, LARGEST_BODY)
        if not isinstance(tree, dict):
            raise BadRequest("expected a JSON object {queue, name, data?, opts?, children?}")
        added = await self._flows.submit(tree)
        return JsonResponse(msgspec.to_builtins(added), 202, {"Location": f"/api/v1/jobs/{added.job_id}"})
