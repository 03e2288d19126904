"""Results kept in Redis for a while: what one job has computed need not be computed again by the next.

A cache and no record: nothing hangs on it. Where Redis is away or full, what is asked for is computed. Two who ask at
the same moment both compute it, and the later one's is kept; who cannot bear that takes a lock.
"""

from typing import Any, Final, cast

import msgspec
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from jobcast.shared import logs
from jobcast.shared.errors import BadRequest, Unavailable
from jobcast.shared.keys import Keys
from jobcast.shared.names import check_cache_key
from jobcast.shared.redis import unavailable

SHORTEST_TTL: Final = 0.001
LONGEST_TTL: Final = 7 * 24 * 3600.0
LARGEST: Final = 1024 * 1024
"""Bytes of a value, as JSON, that are kept."""

_log = logs.get("cache")


class Cache:
    """Values by key, for all workers of one Redis."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def find(self, key: str, ttl: float, *, fresh: bool) -> bytes | None:
        """The value as JSON; None where it is to be computed."""
        check_cache_key(key)
        if not SHORTEST_TTL <= ttl <= LONGEST_TTL:
            raise BadRequest(f"expected the ttl of a result in seconds above 0, at most {LONGEST_TTL:.0f}, got {ttl}")
        if fresh:
            return None
        try:
            with unavailable():
                kept = cast("bytes | None", await self._client.get(self._keys.cached(key)))
            msgspec.json.decode(kept or b"null")
        except Unavailable as error:
            _log.warning("a result is computed: the cache cannot be read", key=key, error=str(error))
            return None
        except (msgspec.DecodeError, ResponseError) as error:  # somebody wrote something else there
            _log.warning("a result is computed: what is kept is none", key=key, error=str(error))
            return None
        return kept

    async def keep(self, key: str, ttl: float, value: Any) -> bytes:
        """The value as JSON, kept if it can be."""
        try:
            text = msgspec.json.encode(value)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise BadRequest(f"the result {key} cannot be written as JSON: {error}") from error
        if len(text) > LARGEST:
            _log.warning("a result is too large to be kept", key=key, bytes=len(text), most=LARGEST)
            return text
        try:
            with unavailable():
                await self._client.set(self._keys.cached(key), text, px=round(ttl * 1000))
        except Unavailable as error:
            _log.warning("a result is not kept", key=key, error=str(error))
        return text
