"""The calls of the protocol, the same through Socket.IO and plain WebSocket: decode, call, answer."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from jobcast.gateway.client import Client
from jobcast.shared.circuit import Circuits
from jobcast.shared.errors import BadRequest, JobcastError, RateLimited
from jobcast.shared.names import check_job_id, check_queue_name
from jobcast.shared.position import Position
from jobcast.shared.queue import JobQueues
from jobcast.shared.snapshot import Snapshot

Answer = dict[str, Any]


class Calls:
    """What a client may ask for. :meth:`answer` never raises for what a client sent: a refusal is an answer.

    Each door has one call of a client under way at a time, so the answers come in the order it asked.
    """

    def __init__(self, queues: JobQueues, circuits: Circuits) -> None:
        self._queues = queues
        self._circuits = circuits
        self._table: Final[dict[str, Callable[[Client, Any], Awaitable[Answer]]]] = {
            "subscribe-to-job": self._subscribe_to_job,
            "unsubscribe-from-job": self._unsubscribe_from_job,
            "subscribe-to-queue": self._subscribe_to_queue,
            "unsubscribe-from-queue": self._unsubscribe_from_queue,
            "get-subscriptions": self._get_subscriptions,
            "cancel-job": self._cancel_job,
        }

    async def answer(self, client: Client, name: object, payload: object) -> Answer:
        """Do what was asked: ``{ok: true, ...}``, or ``{ok: false, code, message, retryable}``."""
        try:
            call = self._table.get(name) if isinstance(name, str) else None
            if call is None:
                raise BadRequest(f"expected one of {', '.join(self._table)}; got {str(name)[:64]!r}")
            loop = asyncio.get_running_loop()
            if not client.allowance.take(loop.time()):
                # Calls of one client are handled one after the other, so this also holds up whoever goes on: the rest
                # of a flood waits in its own send buffer.
                await asyncio.sleep(1 / client.allowance.rate)
                raise RateLimited(f"expected at most {client.allowance.rate:g} calls a second; try again in a moment")
            return await call(client, payload)
        except JobcastError as error:
            if isinstance(name, str) and name.startswith(("subscribe-", "unsubscribe-")):
                client.say("subscription-error", error.to_dict())
            return {"ok": False, **error.to_dict()}

    async def _subscribe_to_job(self, client: Client, payload: Any) -> Answer:
        job_id = check_job_id(_field(payload, "jobId", bare=True))
        since = _since(payload)
        opened = await client.watch_job(job_id, since)
        _say_success(client, "subscription-success", "job", job_id)
        return {
            "ok": True,
            "jobId": job_id,
            "snapshot": plain(opened.snapshot),
            "recovered": opened.recovered,
        }

    async def _unsubscribe_from_job(self, client: Client, payload: Any) -> Answer:
        job_id = check_job_id(_field(payload, "jobId", bare=True))
        client.unwatch_job(job_id)
        _say_success(client, "unsubscription-success", "job", job_id)
        return {"ok": True}

    async def _subscribe_to_queue(self, client: Client, payload: Any) -> Answer:
        queue = check_queue_name(_field(payload, "queueName"))
        opened = await client.watch_queue(queue, _since(payload))
        _say_success(client, "subscription-success", "queue", queue)
        at = opened.position
        snapshot = {
            "queueName": queue,
            "counts": await self._queues.counts(queue),
            "circuit": msgspec.to_builtins(await self._circuits.read(queue)),
            "jobs": [plain(each) for each in opened.live],
            "epoch": at.epoch if at else None,
            "seq": at.seq if at else 0,
        }
        return {"ok": True, "queueName": queue, "snapshot": snapshot, "recovered": opened.recovered}

    async def _unsubscribe_from_queue(self, client: Client, payload: Any) -> Answer:
        queue = check_queue_name(_field(payload, "queueName"))
        client.unwatch_queue(queue)
        _say_success(client, "unsubscription-success", "queue", queue)
        return {"ok": True}

    async def _get_subscriptions(self, client: Client, _payload: Any) -> Answer:
        found = {"jobIds": list(client.jobs), "queues": list(client.queues), "clientId": client.id}
        client.say("current-subscriptions", found)
        return {"ok": True, **found}

    async def _cancel_job(self, _client: Client, payload: Any) -> Answer:
        job_id = check_job_id(_field(payload, "jobId"))
        return {"ok": True, **(await self._queues.cancel_family(job_id, read_reason(payload))).to_dict()}


def plain(snapshot: Snapshot) -> dict[str, Any]:
    """A snapshot as what JSON libraries take, fields that do not apply left out."""
    found: dict[str, Any] = msgspec.to_builtins(snapshot)
    return found


def read_reason(payload: object) -> str | None:
    """The ``reason`` of a cancellation, if one was given."""
    reason = payload.get("reason") if isinstance(payload, dict) else None
    if reason is None or isinstance(reason, str):
        return reason
    raise BadRequest(f"expected reason as text, got {type(reason).__name__}")


def _field(payload: object, name: str, *, bare: bool = False) -> object:
    if bare and isinstance(payload, str):
        return payload
    if isinstance(payload, dict):
        return payload.get(name)
    raise BadRequest(f"expected an object with {name}, got {type(payload).__name__}")


def _since(payload: object) -> Position | None:
    since = payload.get("since") if isinstance(payload, dict) else None
    if since is None:
        return None
    if not isinstance(since, dict):
        raise BadRequest(f"expected since as {{epoch, seq}}, got {type(since).__name__}")
    return Position.check(since.get("epoch"), since.get("seq"))


def _say_success(client: Client, event: str, kind: str, target: str) -> None:
    verb = "watching" if event == "subscription-success" else "no longer watching"
    client.say(event, {"type": kind, "target": target, "message": f"{verb} {kind} {target}"})
