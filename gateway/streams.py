"""SSE and plain WebSocket: the same clients and watches, by doors that need no library."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, MutableMapping
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from jobcast.gateway.calls import Calls
from jobcast.gateway.client import Client
from jobcast.gateway.doors import Clients, Pace
from jobcast.gateway.wire import Message
from jobcast.shared.errors import BadRequest, JobcastError, PayloadTooLarge, Unavailable
from jobcast.shared.names import check_job_id, check_queue_name
from jobcast.shared.position import Position
from jobcast.shared.states import TERMINAL

LARGEST_CALL: Final = 64 * 1024
TRY_AGAIN_LATER: Final = 1013
CLOSE_CODES: Final = {"stopping": 1001, "failed": 1011, "slow": TRY_AGAIN_LATER}
_read_call: Final = msgspec.json.Decoder(list[Any]).decode


class Streams:
    """The two doors; ``clients`` says who may enter."""

    def __init__(self, clients: Clients, calls: Calls) -> None:
        self._clients = clients
        self._calls = calls

    # Server-sent events.

    async def job_events(self, request: Request) -> Response:
        """``GET /api/v1/jobs/{id}/events``: the job from its snapshot or from ``Last-Event-ID`` on."""
        job_id = check_job_id(request.path_params["job_id"])
        last = request.headers.get("last-event-id") or request.query_params.get("lastEventId")
        since = Position.parse(last) if last else None
        until_done = _until_done(request)
        client = self._clients.open("sse")
        try:
            opened = await client.watch_job(job_id, since)
        except BaseException:
            client.close("refused")
            raise
        if until_done and opened.recovered and opened.snapshot.state in TERMINAL and not len(client.outbox):
            client.close("done")
        return _event_stream(client, self._clients.pace, until_done=until_done)

    async def queue_events(self, request: Request) -> Response:
        """``GET /api/v1/queues/{name}/events``: every job of the queue, first those that are live now."""
        queue = check_queue_name(request.path_params["queue"])
        if "until" in request.query_params:
            raise BadRequest("a queue is never done: until goes with the events of a job")
        client = self._clients.open("sse")
        try:
            await client.watch_queue(queue)
        except BaseException:
            client.close("refused")
            raise
        return _event_stream(client, self._clients.pace, until_done=False)

    # Plain WebSocket.

    async def websocket(self, websocket: WebSocket) -> None:
        """``/ws``: JSON arrays ``[event, payload, id?]`` in, ``[event, payload]`` out, a call answered as ``ack``."""
        await websocket.accept()
        try:
            client = self._clients.open("websocket")
        except Unavailable as error:
            await websocket.close(TRY_AGAIN_LATER, str(error)[:120])
            return
        client.greet()
        async with asyncio.TaskGroup() as group:
            pump = group.create_task(_pump(websocket, client, self._clients.pace), name=f"pump-{client.id}")
            calls = group.create_task(self._take_calls(websocket, client), name=f"calls-{client.id}")
            # One that was closed as slow may never say another word; waiting for it would keep its connection.
            pump.add_done_callback(lambda _: calls.cancel())

    async def _take_calls(self, websocket: WebSocket, client: Client) -> None:
        try:
            while not client.closed.is_set():
                await self._one_call(websocket, client)
        except WebSocketDisconnect:
            pass
        finally:
            client.close("gone")

    async def _one_call(self, websocket: WebSocket, client: Client) -> None:
        received = await websocket.receive()
        if received["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(received.get("code", 1005))
        call_id: object = None
        try:
            name, payload, call_id = _decode_call(received)
        except JobcastError as error:
            answer: dict[str, Any] = {"ok": False, **error.to_dict()}
        else:
            answer = await self._calls.answer(client, name, payload)
            if call_id is None and answer["ok"]:
                return
        client.say("ack", {"id": call_id, **answer})


def _decode_call(received: MutableMapping[str, Any]) -> tuple[str, Any, object]:
    text = received.get("text")
    if text is None:
        raise BadRequest("expected a text message holding [event, payload, id?], got a binary one")
    if len(text) > LARGEST_CALL:
        raise PayloadTooLarge(f"expected at most {LARGEST_CALL} characters, got {len(text)}")
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


async def _pump(websocket: WebSocket, client: Client, pace: Pace) -> None:
    """Write what the client is owed, and close its connection when it is closed."""
    try:
        while messages := await client.next_messages():
            async with asyncio.timeout(pace.write_deadline):
                for message in messages:
                    await websocket.send_text(message.wire.decode())
    except TimeoutError:
        client.close("slow")
    except (WebSocketDisconnect, RuntimeError, OSError):
        # The other side went away while we wrote; the reading side ends the client.
        client.close("gone")
    code = CLOSE_CODES.get(client.close_reason)
    if code is not None:
        with contextlib.suppress(RuntimeError, OSError, TimeoutError):
            async with asyncio.timeout(1):
                await websocket.close(code, client.close_reason)


def _until_done(request: Request) -> bool:
    until = request.query_params.get("until")
    if until not in {None, "done"}:
        raise BadRequest(f"expected until=done or nothing, got until={str(until)[:32]}")
    return until == "done"


def _event_stream(client: Client, pace: Pace, *, until_done: bool) -> Response:
    return _DeadlinedResponse(
        client,
        pace,
        _events(client, pace, until_done),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


class _DeadlinedResponse(StreamingResponse):
    """A stream that ends when its client takes nothing for the write deadline."""

    def __init__(self, client: Client, pace: Pace, content: AsyncIterator[bytes], **options: Any) -> None:
        super().__init__(content, **options)
        self._client = client
        self._pace = pace

    async def stream_response(self, send: Send) -> None:
        async def send_in_time(message: MutableMapping[str, Any]) -> None:
            async with asyncio.timeout(self._pace.write_deadline):
                await send(message)

        try:
            await super().stream_response(send_in_time)
        except TimeoutError:
            self._client.close("slow")


async def _events(client: Client, pace: Pace, until_done: bool) -> AsyncIterator[bytes]:
    try:
        # Reaches the client before anything happens, so that it knows it is connected.
        yield b": connected\nretry: 1000\n\n"
        while True:
            try:
                async with asyncio.timeout(pace.heartbeat):
                    messages = await client.next_messages()
            except TimeoutError:
                yield b": still here\n\n"
                continue
            if not messages:
                return
            yield b"".join(_block(message) for message in messages)
            # A replay may hold the end of an earlier attempt: only the last word counts.
            if until_done and messages[-1].ends_job and not len(client.outbox):
                return
    finally:
        client.close("gone")


def _block(message: Message) -> bytes:
    place = b"id: %s\n" % str(message.position).encode() if message.position is not None else b""
    return b"event: %s\n%sdata: %s\n\n" % (message.name.encode(), place, message.payload)
