"""The state of a queue's circuit breaker, as Redis holds it and as whoever watches the queue is told of it.

A worker's script writes it (``worker/breaker.py``) and publishes each change on the queue's channel; it is no event of
a job, has no place in the queue's count, and the last one alone is true.
"""

from typing import Final

import msgspec
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from jobcast.shared.circuit_words import Circuit
from jobcast.shared.journal.answers import is_of_another_kind
from jobcast.shared.keys import Keys
from jobcast.shared.redis import unavailable

_FIELDS: Final = ["state", "timestamp", "until", "reason"]


class Circuits:
    """Reads the state of any queue's circuit."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def read(self, queue: str) -> Circuit:
        """One that never changed is closed, as is every queue without a breaker.

        Raises:
            Unavailable: Redis is away.
        """
        with unavailable():
            try:
                found = await self._client.hmget(self._keys.queue_circuit(queue), _FIELDS)
            except ResponseError as error:
                if not is_of_another_kind(error):
                    raise
                return Circuit(queue, "closed")
        state, timestamp, until, reason = (_text(each) for each in found)
        told = {
            "queueName": queue,
            "state": state or "closed",
            "timestamp": timestamp or 0,
            "until": until if state == "open" else None,
            "reason": reason,
        }
        try:
            return msgspec.convert(told, Circuit, strict=False)
        except msgspec.ValidationError:
            return Circuit(queue, "closed")  # spoilt by hand; the next change mends it


def _text(value: bytes | str | None) -> str | None:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
