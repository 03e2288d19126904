"""Who of many processes does what only one should: a key with a short life, renewed by whoever holds it.

A hint and no lock: a holder that stood still for longer than the lease finds itself replaced and may have done the same
work a moment later. What is done under a lease must bear being done twice.
"""

import secrets
from typing import Final

from redis.asyncio import Redis

from jobcast.shared.redis import unavailable

_HOLD: Final = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
_RELEASE: Final = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class Lease:
    """``span`` seconds after its holder was last heard of, another may have it."""

    def __init__(self, client: Redis, key: str, span: float) -> None:
        self._key = key
        self._span = round(span * 1000)
        self._token = secrets.token_hex(8)
        self._hold = client.register_script(_HOLD)
        self._release = client.register_script(_RELEASE)
        self._may_be_ours = False
        """Until an answer says no: a call may have been cut off before it heard that it took the lease."""

    async def hold(self) -> bool:
        """Take it or renew it; False while another has it."""
        self._may_be_ours = True
        with unavailable():
            self._may_be_ours = bool(await self._hold(keys=[self._key], args=[self._token, self._span]))
        return self._may_be_ours

    async def release(self) -> None:
        """Let the next one have it at once. Asks Redis only where it may be ours: an end waits for no Redis in vain."""
        if self._may_be_ours:
            with unavailable():
                await self._release(keys=[self._key], args=[self._token])
            self._may_be_ours = False
