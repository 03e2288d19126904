"""SSE and plain WebSocket: the same clients and watches, by doors that need no library."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from jobcast.gateway.again import retry_ms
from jobcast.gateway.calls import Calls
from jobcast.gateway.client import Client
from jobcast.gateway.dialects import PLAIN, SSE, SSE_OF_QUEUE, Block
from jobcast.gateway.doors import Clients
from jobcast.gateway.engine.inbox import Inbox
from jobcast.gateway.engine.websocket import WebSocketConnection
from jobcast.gateway.outlet import PullOutlet
from jobcast.gateway.wire import Dialect
from jobcast.shared.errors import BadRequest, JobcastError, Unavailable
from jobcast.shared.names import check_job_id, check_queue_name
from jobcast.shared.position import Position
from jobcast.shared.states import TERMINAL

TRY_AGAIN_LATER: Final = 1013
CLOSE_CODES: Final = {"stopping": 1001, "failed": 1011, "slow": TRY_AGAIN_LATER}
_EVENTS: Final = "text/event-stream"
_STREAM: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_read_call: Final = msgspec.json.Decoder(list[Any]).decode


class Streams:
    """Server-sent events; ``heartbeat`` in seconds between the comments of a stream that has nothing to say."""

    def __init__(self, clients: Clients, heartbeat: float) -> None:
        self._clients = clients
        self._heartbeat = heartbeat

    async def job_events(self, request: Request) -> Response:
        """``GET /api/v1/jobs/{id}/events``: the job from its snapshot or from ``Last-Event-ID`` on."""
        job_id = check_job_id(request.path_params["job_id"])
        since = _since(request)
        until_done = _until_done(request)
        if request.method == "HEAD":
            return Response(headers=_STREAM, media_type=_EVENTS)
        client, outlet = self._open(SSE)
        try:
            opened = await client.watch_job(job_id, since)
        except BaseException:
            client.close("refused")
            raise
        if until_done and opened.recovered and opened.snapshot.state in TERMINAL and not len(outlet.outbox):
            client.close("done")
        return _event_stream(_events(client, outlet, self._heartbeat, until_done))

    async def queue_events(self, request: Request) -> Response:
        """``GET /api/v1/queues/{name}/events``: every job of the queue from ``Last-Event-ID`` on, or those live now."""
        queue = check_queue_name(request.path_params["queue"])
        if "until" in request.query_params:
            raise BadRequest("a queue is never done: until goes with the events of a job")
        since = _since(request)
        if request.method == "HEAD":
            return Response(headers=_STREAM, media_type=_EVENTS)
        client, outlet = self._open(SSE_OF_QUEUE)
        try:
            await client.watch_queue(queue, since)
        except BaseException:
            client.close("refused")
            raise
        return _event_stream(_events(client, outlet, self._heartbeat, until_done=False))

    def _open(self, dialect: Dialect) -> tuple[Client, PullOutlet]:
        if (refusal := self._clients.refusal()) is not None:
            raise refusal
        outlet = PullOutlet(lambda: client.close("slow"))
        client = self._clients.open("sse", outlet, dialect, lambda *_: outlet.end())
        return client, outlet


class PlainWebSockets:
    """``/ws``: JSON arrays ``[event, payload, id?]`` in, ``[event, payload]`` out, a call answered as ``ack``."""

    def __init__(self, clients: Clients, calls: Calls) -> None:
        self._clients = clients
        self._calls = calls

    def refuse(self, _query: str) -> tuple[int, bytes] | None:
        """Whoever is to come again; a gateway that is full says so once it is open, where a browser can read it."""
        refusal = self._clients.refusal()
        return None if refusal is None else (503, orjson.dumps(refusal.to_dict()))

    def enter(self, connection: WebSocketConnection, _query: str) -> None:
        try:
            client = self._clients.open("websocket", connection, PLAIN, _hang_up(connection))
        except Unavailable as error:
            connection.close(TRY_AGAIN_LATER, str(error))
            return
        connection.receiver = _Caller(connection, client, self._calls)
        client.greet()


class _Caller:
    """Takes the calls of one plain WebSocket, one at a time."""

    __slots__ = ("_calls", "_client", "_connection", "_inbox")

    def __init__(self, connection: WebSocketConnection, client: Client, calls: Calls) -> None:
        self._connection = connection
        self._client = client
        self._calls = calls
        self._inbox: Inbox[str | bytes] = Inbox(self._take, lambda: client.close("failed"))

    def text(self, data: str) -> None:
        self._inbox.put(data, self._connection)

    def binary(self, data: bytes) -> None:
        self._inbox.put(data, self._connection)

    def lost(self, reason: str) -> None:
        self._client.close(reason if reason in CLOSE_CODES else "gone")
        self._inbox.close()

    async def _take(self, data: str | bytes) -> None:
        call_id: object = None
        try:
            name, payload, call_id = _decode_call(data)
        except JobcastError as error:
            answer: dict[str, Any] = {"ok": False, **error.to_dict()}
        else:
            answer = await self._calls.answer(self._client, name, payload)
            if call_id is None and answer["ok"]:
                return
        self._client.say("ack", {"id": call_id, **answer})


def _hang_up(connection: WebSocketConnection) -> Any:
    def hang_up(_client: Client, reason: str) -> None:
        connection.close(CLOSE_CODES.get(reason, 1000), reason)

    return hang_up


def _decode_call(text: str | bytes) -> tuple[str, Any, object]:
    if isinstance(text, bytes):
        raise BadRequest("expected a text message holding [event, payload, id?], got a binary one")
    try:
        call = _read_call(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequest(f"expected a JSON array [event, payload, id?]: {error}") from error
    if not 1 <= len(call) <= 3 or not isinstance(call[0], str):
        raise BadRequest("expected a JSON array [event, payload, id?] that begins with the name of a call")
    name, payload, call_id = (*call, None, None)[:3]
    if not (call_id is None or (isinstance(call_id, int | str) and len(str(call_id)) <= 64)):
        raise BadRequest("expected the call's id, its third element, as a number or a short text")
    return name, payload, call_id


def _since(request: Request) -> Position | None:
    last = request.headers.get("last-event-id") or request.query_params.get("lastEventId")
    return Position.parse(last) if last else None


def _until_done(request: Request) -> bool:
    until = request.query_params.get("until")
    if until not in {None, "done"}:
        raise BadRequest(f"expected until=done or nothing, got until={str(until)[:32]}")
    return until == "done"


def wants_events(request: Request) -> bool:
    """Whether a browser's EventSource asks, or what behaves as it does."""
    return _EVENTS in request.headers.get("accept", "")


def come_again(error: JobcastError) -> Response:
    """A stream that ends at once, for an EventSource: any status but 200 would end it for good (HTML Standard)."""
    says = " ".join(str(error).split())
    return Response(f": {says}\nretry: {retry_ms()}\n\n", headers=_STREAM, media_type=_EVENTS)


def _event_stream(content: AsyncIterator[bytes]) -> Response:
    return StreamingResponse(content, media_type=_EVENTS, headers=_STREAM)


async def _events(client: Client, outlet: PullOutlet, heartbeat: float, until_done: bool) -> AsyncIterator[bytes]:
    try:
        # Reaches the client before anything happens, so that it knows it is connected.
        yield b": connected\nretry: %d\n\n" % retry_ms()
        while True:
            try:
                async with asyncio.timeout(heartbeat):
                    if not await outlet.ready():
                        return
            except TimeoutError:
                yield b": still here\n\n"
                continue
            blocks = outlet.take()
            yield b"".join(blocks)
            # A replay may hold the end of an earlier attempt: only the last word counts.
            if until_done and _ends_job(blocks[-1]) and not len(outlet.outbox):
                return
    finally:
        client.close("gone")


def _ends_job(block: bytes) -> bool:
    return isinstance(block, Block) and block.ends_job
