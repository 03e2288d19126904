"""Socket.IO by long-polling, as a client that never upgrades."""

import asyncio
from typing import Final

import aiohttp
import msgspec

from tests.soak.resuming import OPEN_WITHIN, Refused, Resuming, read_message

PACKET_END: Final = "\x1e"
POLL_WITHIN: Final = 50.0
"""Seconds for a poll to be answered: the gateway's ping interval and time-out, and some more."""


class _Handshake(msgspec.Struct):
    sid: str


_open: Final = msgspec.json.Decoder(_Handshake).decode


class ByPolling(Resuming):
    """A poll that fails ends the session, as in the real clients: what its answer held is asked for by position."""

    door = "polling"

    async def _live(self, url: str) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=POLL_WITHIN)) as session:
            # aiohttp repeats a poll by itself where its connection was used before: the answer lost with the first one
            # would be missed, and nobody could know.
            session._retry_connection = False
            address = f"{url}/socket.io/?EIO=4&transport=polling"
            async with asyncio.timeout(OPEN_WITHIN):
                handshake = await self._get(session, address)
                address += f"&sid={_open(handshake.removeprefix('0').partition(PACKET_END)[0]).sid}"
                await self._post(session, address, "40")
            while True:
                for packet in (await self._get(session, address)).split(PACKET_END):
                    await self._take(session, address, packet)

    async def _take(self, session: aiohttp.ClientSession, address: str, packet: str) -> None:
        if packet.startswith("42"):
            self._hear(*read_message(packet[2:]))
        elif packet == "2":
            await self._post(session, address, "3")
        elif packet.startswith("40"):
            await self._post(session, address, f"42{self._call()}")
        elif packet != "6":
            raise Refused(packet)

    async def _get(self, session: aiohttp.ClientSession, address: str) -> str:
        async with session.get(address) as response:
            if response.status != 200:
                raise Refused(response.status)
            return await response.text()

    async def _post(self, session: aiohttp.ClientSession, address: str, packets: str) -> None:
        async with session.post(address, data=packets) as response:
            if response.status != 200:
                raise Refused(response.status)
